"""Accuracy on labeled samples, before and after."""

from __future__ import annotations

from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table


def accuracy(run: Run) -> Section | None:
    """Return the metric before and after."""
    if run.accuracy is None:
        return None
    one = run.accuracy
    columns = (Column("Metric"), *(Column(t, "figure") for t in ("Original", "Exported", "Agreement", "Samples")))
    row = (one.metric, *map(figures.percent, (one.original, one.exported, one.agreement)), f"{one.samples:,}")
    lead = f"Measured on {one.samples:,} labeled samples, by running the artifact."
    return Section("accuracy", "Accuracy", lead, tables=(Table(columns, (row,)),), detail=True)
