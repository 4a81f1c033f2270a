"""Limits that were stated, against what was measured."""

from __future__ import annotations

from collections.abc import Callable

from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table
from edgeopt.report.run import Limit, Run


def limits(run: Run) -> Section | None:
    """Return each stated limit with its verdict."""
    if not run.limits:
        return None
    columns = (Column("Limit", "code"), Column("Stated", "figure"), Column("Measured", "figure"), Column("Verdict"))
    rows = tuple(
        (
            limit.name,
            _limit_text(run, limit, limit.limit),
            _limit_text(run, limit, limit.value),
            figures.verdict(limit.ok) + _missed_by(run, limit),
        )
        for limit in run.limits
    )
    lead = "All stated limits hold." if run.ok else "A stated limit is missed."
    return Section("limits", "Limits", lead, tables=(Table(columns, rows),), detail=run.ok)


def _missed_by(run: Run, limit: Limit) -> str:
    if limit.ok or limit.value is None:
        return ""
    return f" by {_limit_text(run, limit, abs(limit.value - limit.limit))}"


def _limit_text(run: Run, limit: Limit, value: float | None) -> str:
    if value is None:
        return "not measured"
    kinds: dict[str, Callable[[float], str]] = {
        "latency": lambda v: figures.cost(v, run.latency.unit if run.latency else "ms"),
        **dict.fromkeys(("size", "flash", "ram"), lambda v: figures.size(round(v))),
        "accuracy": figures.percent,
        "drop": figures.percent,
        "error": figures.scientific,
    }
    return kinds.get(limit.name.rpartition("-")[2], figures.significant)(value)
