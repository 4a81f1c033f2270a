"""What precision auto tried, the Pareto front, and the format of each layer."""

from __future__ import annotations

import math

from edgeopt.records.run import Run
from edgeopt.records.search import LayerFormat, Search, Trial
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Front, Section, Table


def formats(run: Run) -> Section | None:
    """Return the chosen configuration, the front as a plot and a table, and the layers with their estimates."""
    one = run.search
    if one is None:
        return None
    unit = run.latency.unit if run.latency else "ms"
    chosen = one.trials[one.chosen]
    verdict = "holds all limits" if chosen.ok else "misses a limit, as every configuration that was tried"
    lead = (
        f"Of {len(one.trials)} configurations compiled and measured, the chosen one ({_name(chosen)}) {verdict}; it is "
        f"{figures.ratio(chosen.speedup)} as fast as the most exact one."
    )
    if one.reused:
        lead += f" {one.reused} measurements are of an earlier search."
    return Section(
        "formats", "Formats", lead, tables=(_trials(one, unit), _layers(run, one, unit)), plots=(_front(one),)
    )


def _trials(one: Search, unit: str) -> Table:
    columns = ("Error", "Accuracy", "Size", "Latency" if unit == "ms" else "Instructions", "Speed-up")
    order = sorted(range(len(one.trials)), key=lambda index: one.trials[index].speedup)
    rows = tuple(_row(one.trials[index], index == one.chosen, unit) for index in order)
    figures_ = (Column(title, "figure") for title in columns)
    return Table(
        (Column("Layers by format"), *figures_, Column("Limits"), Column("On the front")), rows, "Configurations"
    )


def _row(trial: Trial, is_chosen: bool, unit: str) -> tuple[str, ...]:
    return (
        _name(trial),
        figures.scientific(trial.error.relative),
        "-" if trial.accuracy is None else figures.percent(trial.accuracy),
        figures.size(trial.bytes),
        figures.cost(trial.latency, unit).removesuffix(" instructions"),
        figures.ratio(trial.speedup),
        figures.verdict(trial.ok),
        "chosen" if is_chosen else "yes" if trial.on_front else "",
    )


def _name(trial: Trial) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in sorted(trial.counts.items(), key=lambda item: -item[1]))
    rest = trial.float_precision
    return counts if rest is None or rest in trial.counts else f"{counts}; rest {rest}"


def _layers(run: Run, one: Search, unit: str) -> Table:
    columns = Column("Layer", "code"), Column("Module", "code"), Column("Operator", "code"), Column("Format")
    more = Column("Signal to noise alone, by format", "prose"), Column("Cost, by format", "prose")
    rows = tuple((x.layer, run.modules_of([x.layer]), x.op, x.format, _noise(x), _cost(x, unit)) for x in one.layers)
    return Table((*columns, *more), rows, "Every layer", detail=True)


def _noise(layer: LayerFormat) -> str:
    told = ((name, noise) for name, noise in layer.noise.items() if noise)
    return ", ".join(f"{name} {-10 * math.log10(noise):.1f} dB" for name, noise in told)


def _cost(layer: LayerFormat, unit: str) -> str:
    return ", ".join(f"{name} {figures.cost(cost, unit)}" for name, cost in layer.cost.items())


def _front(one: Search) -> Front:
    points = tuple(
        (trial.speedup, trial.error.relative, _name(trial), index == one.chosen, trial.ok)
        for index, trial in enumerate(one.trials)
    )
    chosen = _name(one.trials[one.chosen])
    alt = f"Relative error over speed-up of {len(points)} configurations; the chosen one: {chosen}."
    return Front("Error and speed of the configurations", alt, points)
