"""What a recipe swapped, how tuning went, and what its gate gave back."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt.records.run import Run
from edgeopt.records.swaps import SwappedLayer, Swaps
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table


def swaps(run: Run) -> Section | None:
    """Return what stayed swapped, the errors before and after tuning, and the gate's attempts."""
    one = run.swaps
    if one is None or not one.layers:
        return None
    stayed = sum(not layer.kept for layer in one.layers)
    lead = (
        f"Recipe {one.recipe['name']}: {stayed} of {len(one.layers)} swaps stayed. On {one.samples[1]} held-out "
        f"samples the outputs' relative error was {one.before:.3f} before tuning and is {one.after:.3f} after it."
    )
    measured = Table((Column("Measured on the target", "prose"),), tuple((text,) for text in one.figures))
    tables = (_passes(one), measured, _stages(one), _attempts(one), _layers(one))
    return Section("swaps", "Swapped layers", lead, tables=tuple(table for table in tables if table.rows))


def _passes(one: Swaps) -> Table:
    columns = Column("Pass", "code"), Column("Swapped", "figure"), Column("Stayed", "figure")
    counts = {by: [layer for layer in one.layers if layer.by == by] for by in (layer.by for layer in one.layers)}
    rows = tuple(
        (by, str(len(layers)), str(sum(not layer.kept for layer in layers)), *_mean_errors(layers))
        for by, layers in counts.items()
    )
    return Table((*columns, Column("Error before", "figure"), Column("Error after", "figure")), rows)


def _mean_errors(layers: Sequence[SwappedLayer]) -> tuple[str, str]:
    count = len(layers)
    return f"{sum(x.before for x in layers) / count:.3f}", f"{sum(x.after for x in layers) / count:.3f}"


def _stages(one: Swaps) -> Table:
    columns = Column("Stage"), Column("Steps", "figure"), Column("Error before", "figure")
    rows = tuple((s.name, str(s.steps), f"{s.before:.3f}", f"{s.after:.3f}", s.ended) for s in one.stages)
    return Table((*columns, Column("Error after", "figure"), Column("Ended", "prose")), rows, "Tuning")


def _attempts(one: Swaps) -> Table:
    columns = Column("Given back", "figure"), Column("Error", "figure"), Column("Cosine", "figure")
    rows = tuple(
        (
            str(attempt.kept),
            figures.relative(attempt.error),
            f"{attempt.error.cosine:.4f}",
            "-" if attempt.accuracy is None else figures.percent(attempt.accuracy),
            figures.verdict(attempt.ok),
        )
        for attempt in one.attempts
    )
    return Table((*columns, Column("Accuracy", "figure"), Column("Limits")), rows, "The gate's attempts")


def _layers(one: Swaps) -> Table:
    columns = Column("Layer", "code"), Column("Pass", "code"), Column("Error before", "figure")
    rows = tuple(
        (
            layer.layer,
            layer.by,
            f"{layer.before:.3f}",
            f"{layer.after:.3f}",
            "-" if layer.alone is None else f"{layer.alone:.1f} dB",
            "original" if layer.kept else "swapped",
        )
        for layer in one.layers
    )
    more = Column("Error after", "figure"), Column("SQNR alone", "figure"), Column("Runs as")
    return Table((*columns, *more), rows, "Every swap", detail=True)
