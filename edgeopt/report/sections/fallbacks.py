"""Nodes that run elsewhere or otherwise than asked."""

from __future__ import annotations

from edgeopt.records.layers import nodes_of
from edgeopt.records.run import Run
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table


def fallbacks(run: Run) -> Section | None:
    """Return the nodes with reasons."""
    if not run.fallbacks:
        return None
    columns = (
        Column("Node", "code"),
        Column("Module", "code"),
        Column("Operator", "code"),
        Column("Reason", "prose"),
        Column("Share", "figure"),
    )
    rows = tuple(
        (one.node, run.modules_of(nodes_of(one.node)), one.op, one.reason, figures.percent(one.share))
        for one in run.fallbacks
    )
    number = len(rows)
    lead = f"{number} node{'s run' if number != 1 else ' runs'} elsewhere or otherwise than asked."
    return Section("fallbacks", "Fallbacks", lead, tables=(Table(columns, rows),))
