"""What the comparison with the original says, output by output, and what to do where they differ."""

from __future__ import annotations

from edgeopt.records.limits import Limit
from edgeopt.records.outputs import OutputComparison
from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table

_MISSED = {
    "default-error": "relative error",
    "default-sqnr": "SQNR",
    "no-new-nan": "NaN or infinite elements that the original does not have",
    "default-decisions": "share of elements that differ",
    "default-integers": "share of elements that differ",
    "default-channel": "SQNR",
    "default-sample": "SQNR",
    "reach": "numbers up to",
    "default-drop": "loss of accuracy",
    "program-error": "relative error against the program it was compiled from",
    "program-sqnr": "SQNR against the program it was compiled from",
}


def outputs(run: Run) -> Section | None:
    """Return the outputs with their errors, where there are several or one could not be compared."""
    if len(run.outputs) < 2 and not _not_compared(run):
        return None
    columns = (
        *(Column("Output", "code"), Column("Holds"), Column("Error", "figure"), Column("SQNR", "figure")),
        *(Column("Differing", "figure"), Column("Not compared", "prose")),
    )
    rows = tuple(map(_row, run.outputs))
    left_out = len(_not_compared(run))
    lead = f"{len(run.outputs) - left_out} of {len(run.outputs)} outputs were compared with the original's."
    return Section("outputs", "Outputs", lead, tables=(Table(columns, rows),))


def _row(one: OutputComparison) -> tuple[str, ...]:
    holds = {"number": "numbers", "index": "indices", "decision": "decisions", "exact": "integers"}[one.form]
    differing = f"{one.differing:,} of {one.elements:,}"
    return one.name, holds, figures.relative(one.error), figures.sqnr(one.error), differing, one.reason or ""


def alarm(run: Run) -> str:
    """Return the line that stands before all else; empty where there is nothing to be alarmed about."""
    if run.verdict == "differs":
        word = "DIFFERS from the original"
        cause = f"; {run.cause}" if run.cause is not None else ""
        accepted = f" Accepted: {run.accepted_difference}" if run.is_accepted else ""
        return f"{word}: {'; '.join(map(_told, _missed(run)))}{cause}.{accepted}"
    if run.verdict == "not compared":
        return f"NOT COMPARED with the original: {_reasons(run)}."
    return ""


def caveats(run: Run) -> tuple[str, ...]:
    """Return the alarm and the remedy as lines for the log; none where there is nothing to be alarmed about."""
    if run.verdict == "differs" and not run.is_accepted:
        return alarm(run), f"hint: {_remedy(run)}"
    if run.verdict == "not compared":
        return (alarm(run),)
    return (f"not compared: {_reasons(run)}",) if _not_compared(run) else ()


def _missed(run: Run) -> list[Limit]:
    return [limit for limit in run.limits if limit.is_default and not limit.ok]


def _told(limit: Limit) -> str:
    where = f"output '{limit.output}' has " if limit.output is not None else ""
    value = figures.limit(limit, limit.value)
    return f"{where}{_MISSED[limit.name]} {value}, at {limit.direction} {figures.limit(limit, limit.limit)} by default"


def _remedy(run: Run) -> str:
    """Return what to do about a difference: by what was asked for."""
    if run.quantization is not None:
        what = "state --max-error, so that layers return to float, or calibrate with more data"
    elif run.target.precision_requested == "fp32":
        what = "report the model"
    else:
        what = "choose a precision with more digits or a wider range, such as fp32"
    return f"{what}; where the difference is right, say why with --accept-difference"


def _not_compared(run: Run) -> list[OutputComparison]:
    return [one for one in run.outputs if one.reason is not None]


def _reasons(run: Run) -> str:
    return "; ".join(f"output '{one.name}': {one.reason}" for one in _not_compared(run))
