"""Limits, stated and by default, against what was measured."""

from __future__ import annotations

from edgeopt.records.limits import Limit
from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table


def limits(run: Run) -> Section | None:
    """Return each limit with its verdict."""
    if not run.limits:
        return None
    columns = (
        *(Column("Limit", "code"), Column("Allowed", "figure"), Column("Measured", "figure")),
        *(Column("Verdict"), Column("Worst output", "code")),
    )
    rows = tuple(
        (
            limit.name,
            figures.limit(limit, limit.limit, unit),
            figures.limit(limit, limit.value, unit),
            figures.verdict(limit.ok) + _missed_by(limit, unit),
            limit.output or "",
        )
        for unit in (run.latency.unit if run.latency else "ms",)
        for limit in run.limits
    )
    lead = "All limits hold." if run.ok else "A limit is missed."
    return Section("limits", "Limits", lead, tables=(Table(columns, rows),), detail=all(one.ok for one in run.limits))


def _missed_by(limit: Limit, unit: str) -> str:
    if limit.ok or limit.value is None:
        return ""
    return f" by {figures.limit(limit, abs(limit.value - limit.limit), unit)}"
