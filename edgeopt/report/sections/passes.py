"""What was done, pass by pass, what was left alone and why, and the error after each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeopt.records.outputs import OutputNoise
from edgeopt.records.passes import PassRecord
from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, ErrorSteps, Section, Table

EXACT_BOUND = 1e-5
"""The tracker's bound, repeated because reading a report needs no torch."""

PLACES_NAMED = 3


def passes(run: Run) -> Section:
    """Return the passes, what they refused, and a plot of the error after each."""
    changed = sum(entry.changed for entry in run.passes)
    refused = sum(len(entry.refused) for entry in run.passes)
    lead = f"{len(run.passes)} passes ran, {changed} changed the program"
    lead += f"; {refused} place{'s were' if refused != 1 else ' was'} left alone, with reasons." if refused else "."
    lead += f" {_noise(run.noise)}" if run.noise is not None and run.noise.outputs else ""
    columns = (
        Column("Pass", "code"),
        Column("Kind"),
        Column("Applied", "figure"),
        Column("Refused", "figure"),
        Column("Error", "figure"),
        Column("SQNR", "figure"),
        Column("Time", "figure"),
    )
    rows = tuple(_pass_row(entry) for entry in run.passes)
    tables = (Table(columns, rows), *_rules(run.passes), *_refusals(run))
    return Section("passes", "Passes", lead, tables=tables, plots=_error_plot(run))


def _noise(noise: OutputNoise) -> str:
    told = f"The model's own noise, what rounding alone does to its outputs, is {figures.scientific(noise.largest)}"
    return f"{told}." if noise.reason is None else f"{told}, without a run in float64: {noise.reason}."


def _pass_row(entry: PassRecord) -> tuple[str, ...]:
    return (
        entry.name,
        entry.kind,
        str(entry.applied),
        str(len(entry.refused)),
        figures.relative(entry.error),
        figures.sqnr(entry.error),
        figures.cost(entry.seconds * 1e3, "ms"),
    )


def _rules(passes: Iterable[PassRecord]) -> tuple[Table, ...]:
    rows = tuple((entry.name, rule, str(count)) for entry in passes for rule, count in entry.rules.items())
    columns = (Column("Pass", "code"), Column("Rule", "code"), Column("Applied", "figure"))
    return (Table(columns, rows, "Rules applied", detail=True),) if rows else ()


def _refusals(run: Run) -> tuple[Table, ...]:
    nodes: dict[tuple[str, str], list[str]] = {}
    for entry in run.passes:
        for refusal in entry.refused:
            nodes.setdefault((refusal.rule, refusal.reason or ""), []).append(refusal.node)
    columns = (Column("Rule", "code"), Column("Reason", "prose"), Column("Places", "code"))
    rows = tuple((rule, reason, _places(run, places)) for (rule, reason), places in nodes.items())
    return (Table(columns, rows, "Left alone, and why"),) if rows else ()


def _places(run: Run, nodes: Sequence[str]) -> str:
    """Return the first of the modules that compute the nodes, or the nodes of the model's own, and how many more."""
    named = tuple(dict.fromkeys(run.modules_of([node]) or node for node in nodes))
    more = len(named) - PLACES_NAMED
    return ", ".join(named[:PLACES_NAMED]) + (f" and {more} more" if more > 0 else "")


def _error_plot(run: Run) -> tuple[ErrorSteps, ...]:
    measured = [(entry.name, entry.error.relative) for entry in run.passes if entry.error is not None]
    if run.error is not None:
        measured.append(("artifact", run.error.relative))
    if not measured:
        return ()
    told = "; ".join(f"{name} {figures.scientific(value)}" for name, value in measured)
    steps, values = zip(*measured, strict=True)
    title = "Relative error after each pass, and of the artifact as it runs"
    return (ErrorSteps(title, f"{title}: {told}.", steps, values, EXACT_BOUND),)
