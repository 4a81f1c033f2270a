"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Bars, Column, Section, Table
from edgeopt.report.figures import ABSENT

COLUMNS = (
    Column("Model", "code"),
    Column("Target"),
    Column("Precision"),
    Column("Error", "figure"),
    Column("Median", "figure"),
    Column("p95", "figure"),
    Column("Speed-up", "figure"),
    Column("Size", "figure"),
    Column("Accuracy", "figure"),
    Column("Limits"),
)


def comparison(runs: Sequence[Run]) -> Section:
    """Return one row a run, and their medians as bars where all are in one unit."""
    lead = f"{len(runs)} exports; each one's speed-up is over its own plain export."
    return Section(
        "comparison", "Side by side", lead, tables=(Table(COLUMNS, tuple(map(_row, runs))),), plots=_plot(runs)
    )


def _row(run: Run) -> tuple[str, ...]:
    latency = run.latency
    return (
        run.name,
        _place(run),
        _precision(run),
        figures.relative(run.error),
        figures.cost(latency.median, latency.unit) if latency else "not run",
        figures.cost(latency.p95, latency.unit) if latency else ABSENT,
        figures.ratio(run.baseline.speedup) if run.baseline else ABSENT,
        figures.size(run.artifact.bytes),
        figures.percent(run.accuracy.exported) if run.accuracy else ABSENT,
        figures.verdict(run.ok) if run.limits else ABSENT,
    )


def _plot(runs: Sequence[Run]) -> tuple[Bars, ...]:
    measured = [(run, run.latency) for run in runs if run.latency is not None]
    if len({latency.unit for _, latency in measured}) != 1:
        return ()
    bars = tuple(
        (f"{run.name} · {_place(run)} · {_precision(run)}", latency.median, figures.cost(latency.median, latency.unit))
        for run, latency in measured
    )
    told = "; ".join(f"{name} {text}" for name, _, text in bars)
    return (Bars("Median latency", f"Median latency: {told}.", bars),)


def _place(run: Run) -> str:
    return f"{run.target.name}:{run.target.device}"


def _precision(run: Run) -> str:
    return run.target.precision_executed or run.target.precision_requested
