"""How long one inference takes, and how steadily."""

from __future__ import annotations

from collections.abc import Mapping

from edgeopt.records.latency import Latency
from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Distribution, Section, Table

STATISTICS = ("min", "median", "mean", "p90", "p95", "p99", "max")


def latency(run: Run) -> Section | None:
    """Return the statistics and a plot of their distribution, beside the plain export's."""
    if run.latency is None:
        return None
    own, series = run.latency, {"this export": run.latency}
    if run.baseline is not None:
        series["plain export"] = run.baseline.latency
    threads = f"{own.threads} thread{'' if own.threads == 1 else 's'}"
    hardware = f" on {run.target.hardware}" if run.target.hardware else ""
    lead = f"{own.runs} runs after {own.warmup} to warm up, {threads}{hardware}."
    return Section("latency", "Latency", lead, tables=(_table(series),), plots=_plot(series), detail=True)


def _table(series: Mapping[str, Latency]) -> Table:
    columns = (Column("Statistic"), *(Column(name, "figure") for name in series))
    each = series.values()
    rows = [(name, *(figures.cost(getattr(one, name), one.unit) for one in each)) for name in STATISTICS]
    rows.append(("CPU time, median", *(figures.cost(one.cpu_median, "ms") for one in each)))
    rows.append(("coefficient of variation", *(figures.percent(one.cv) for one in each)))
    return Table(columns, tuple(rows))


def _plot(series: Mapping[str, Latency]) -> tuple[Distribution, ...]:
    samples = tuple((name, one.median, one.samples) for name, one in series.items() if one.samples)
    if all(len(set(values)) < 2 for *_, values in samples):
        return ()  # an emulator counts the same each time
    title = "Distribution of single inferences"
    told = "; ".join(f"{name} median {figures.cost(one.median, one.unit)}" for name, one in series.items())
    return (Distribution(title, f"{title}: {told}.", next(iter(series.values())).unit, samples),)
