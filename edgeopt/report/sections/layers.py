"""Where the time goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edgeopt.records.layers import Layer
from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Bars, Column, Section, Table
from edgeopt.report.figures import ABSENT

SLOWEST = 8

LAYER_COLUMNS = (
    Column("Layer", "code"),
    Column("Module", "code"),
    Column("Type"),
    Column("Precision"),
    Column("Median", "figure"),
    Column("Share", "figure"),
)
TYPE_COLUMNS = (Column("Type"), Column("Layers", "figure"), Column("Time", "figure"), Column("Share", "figure"))


def layers(run: Run) -> Section | None:
    """Return the slowest layers, their types, and all of them."""
    if run.latency is None or not run.latency.layers:
        return None
    executed, unit = run.latency.layers, run.latency.unit
    slowest = sorted(executed, key=_median, reverse=True)[:SLOWEST]
    every = _table(run, executed, f"All {len(executed)} layers")
    if not any(map(_median, executed)):
        lead = f"{len(executed)} layers were executed; the runtime does not tell their times."
        return Section("layers", "Layers", lead, tables=(every,))
    share = sum(layer.share or 0 for layer in slowest)
    lead = f"The slowest {len(slowest)} of {len(executed)} layers take {figures.percent(share)} of the layers' time."
    top = replace(_table(run, slowest), plotted=True)
    tables = (top, _by_type(executed, unit), every)
    return Section("layers", "Layers", lead, tables=tables, plots=(_plot(slowest, unit),))


def _median(layer: Layer) -> float:
    return layer.median or 0.0


def _table(run: Run, rows: Iterable[Layer], title: str = "") -> Table:
    return Table(LAYER_COLUMNS, tuple(_row(run, layer) for layer in rows), title, detail=bool(title))


def _row(run: Run, layer: Layer) -> tuple[str, ...]:
    unit = run.latency.unit if run.latency is not None else ""
    cost, share = figures.cost(layer.median, unit), figures.percent(layer.share)
    return (layer.name, run.modules_of(layer.computes), layer.type, layer.precision or ABSENT, cost, share)


def _plot(slowest: Iterable[Layer], unit: str) -> Bars:
    bars = tuple(
        (layer.name, _median(layer), f"{figures.cost(layer.median, unit)} · {figures.percent(layer.share)}")
        for layer in slowest
    )
    title = "Median time of the slowest layers"
    told = "; ".join(f"{name} {text}" for name, _, text in bars)
    return Bars(title, f"{title}: {told}.", bars)


def _by_type(executed: Iterable[Layer], unit: str) -> Table:
    groups: dict[str, list[Layer]] = {}
    for layer in executed:
        groups.setdefault(layer.type, []).append(layer)
    times = {kind: sum(map(_median, group)) for kind, group in groups.items()}
    rows = tuple(
        (
            kind,
            str(len(groups[kind])),
            figures.cost(times[kind], unit),
            figures.percent(sum(layer.share or 0 for layer in groups[kind])),
        )
        for kind in sorted(groups, key=times.__getitem__, reverse=True)
    )
    return Table(TYPE_COLUMNS, rows, "By type", detail=True)
