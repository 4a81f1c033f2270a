"""What a reader wants first: where it runs, how exact, how fast, how large, and whether the limits hold."""

from __future__ import annotations

from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Fact, Section, Tone
from edgeopt.report.sections.verdict import alarm


def summary(run: Run) -> Section:
    """Return the facts that are read at a glance."""
    executed = run.target.precision_executed
    where = f"{run.target.name} on {run.target.device}" + (f" in {executed}" if executed else "")
    clauses = []
    clauses += _distance(run)
    if run.baseline is not None:
        clauses.append(f"{figures.ratio(run.baseline.speedup)} the speed of the plain export")
    if run.not_run is not None:
        clauses.append(f"not run: {run.not_run}")
    lead = f"Exported for {where}" + (": " if clauses else "") + ", ".join(clauses) + "."
    facts = (_latency_fact(run), _error_fact(run), _accuracy_fact(run), _precision_fact(run), _size_fact(run))
    kept = (*(f for f in facts if f is not None), _limits_fact(run))
    return Section("summary", run.name, lead, kept, alarm=alarm(run))


def _distance(run: Run) -> list[str]:
    """Return how far the outputs lie from the original's, as clauses of the leading sentence."""
    if run.verdict in ("equal", "close") and run.error is not None:
        equal = run.verdict == "equal"
        return [f"outputs {'equal to' if equal else f'within {figures.relative(run.error)} of'} the original's"]
    return ["outputs that differ from the original's"] if run.verdict == "differs" else []


def _latency_fact(run: Run) -> Fact | None:
    if run.latency is None:
        return None
    value = figures.cost(run.latency.median, run.latency.unit)
    if run.baseline is None:
        return Fact("Latency", value, f"median; p95 {figures.cost(run.latency.p95, run.latency.unit)}")
    baseline = figures.cost(run.baseline.latency.median, run.baseline.latency.unit)
    return Fact("Latency", value, f"{figures.ratio(run.baseline.speedup)} the plain export's speed ({baseline})")


def _error_fact(run: Run) -> Fact:
    if run.error is None:
        why = run.not_run or "no output could be compared"
        return Fact("Error", "not measured", why, "plain" if run.verdict == "not run" else "bad")
    tone: Tone = "bad" if run.verdict == "differs" else "plain"
    worst = ", of the worst output" if len(run.outputs) > 1 else ""
    detail = f"relative to the original{worst}; SQNR {figures.sqnr(run.error)}"
    return Fact("Error", figures.relative(run.error), detail, tone)


def _accuracy_fact(run: Run) -> Fact | None:
    if run.accuracy is None:
        return None
    detail = f"{run.accuracy.metric}; original {figures.percent(run.accuracy.original)}"
    return Fact("Accuracy", figures.percent(run.accuracy.exported), detail)


def _precision_fact(run: Run) -> Fact:
    executed, requested = run.target.precision_executed, run.target.precision_requested
    if executed is None:
        return Fact("Precision", requested, "requested; not run")
    return Fact("Precision", executed, "executed as requested" if executed == requested else f"requested {requested}")


def _size_fact(run: Run) -> Fact:
    number = len(run.artifact.files)
    return Fact("Size", figures.size(run.artifact.bytes), f"{number} file{'' if number == 1 else 's'}")


def _defaults(run: Run) -> str:
    """Return what is said of the default limits where none is missed."""
    if run.verdict == "not compared":
        return "no output could be held against the default ones"
    return "the default ones hold" if run.limits else ""


def _limits_fact(run: Run) -> Fact:
    stated = [limit for limit in run.limits if not limit.is_default]
    missed = [limit for limit in run.limits if not limit.ok]
    if missed:
        return Fact("Limits", f"{len(missed)} missed", ", ".join(limit.name for limit in missed), "bad")
    if not stated:
        return Fact("Limits", "none stated", _defaults(run))
    return Fact("Limits", "all hold", f"{len(stated)} stated", "good")
