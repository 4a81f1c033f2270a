"""What a reader should doubt or change."""

from __future__ import annotations

from edgeopt.report.blocks import Section
from edgeopt.report.run import Run


def warnings(run: Run) -> Section | None:
    """Return the warnings."""
    if not run.warnings:
        return None
    return Section("warnings", "Warnings", "", items=run.warnings)
