"""What a reader should doubt or change."""

from __future__ import annotations

from edgeopt.records.run import Run
from edgeopt.report.blocks import Section


def warnings(run: Run) -> Section | None:
    """Return the warnings."""
    if not run.warnings:
        return None
    return Section("warnings", "Warnings", "", items=run.warnings)
