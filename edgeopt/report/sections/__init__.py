"""A Run, told section by section. To add a section: a file with one function, and its line in ``SECTIONS``."""

from __future__ import annotations

from collections.abc import Callable

from edgeopt.records.run import Run
from edgeopt.report.blocks import Section
from edgeopt.report.sections.accuracy import accuracy
from edgeopt.report.sections.changes import changes
from edgeopt.report.sections.comparison import comparison
from edgeopt.report.sections.fallbacks import fallbacks
from edgeopt.report.sections.files import files
from edgeopt.report.sections.formats import formats
from edgeopt.report.sections.latency import latency
from edgeopt.report.sections.layers import layers
from edgeopt.report.sections.limits import limits
from edgeopt.report.sections.passes import passes
from edgeopt.report.sections.quantization import quantization
from edgeopt.report.sections.setting import setting
from edgeopt.report.sections.summary import summary
from edgeopt.report.sections.swaps import swaps
from edgeopt.report.sections.verdict import outputs
from edgeopt.report.sections.warnings import warnings

__all__ = ["changes", "comparison", "sections"]

SECTIONS: tuple[Callable[[Run], Section | None], ...] = (
    summary,
    warnings,
    limits,
    outputs,
    passes,
    swaps,
    formats,
    quantization,
    latency,
    layers,
    fallbacks,
    accuracy,
    files,
    setting,
)


def sections(run: Run) -> tuple[Section, ...]:
    """Return the sections of the report on ``run``; those that have nothing to say are left out."""
    return tuple(section for tell in SECTIONS if (section := tell(run)) is not None)
