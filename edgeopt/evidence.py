"""What an export knows at each stage: the request, the program prepared for it, and what running it showed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeopt.accuracy import AccuracyResult
from edgeopt.calib.data import CalibrationData
from edgeopt.compare import Error
from edgeopt.inputs import Sample
from edgeopt.measure import Timing
from edgeopt.options import ExportOptions
from edgeopt.pipeline import PassRecord
from edgeopt.program import Program
from edgeopt.target import Fallback, Layer, Target, TargetOptions

OnStep = Callable[[str], None]
"""Is told in a few words what happens next."""


@dataclass(frozen=True)
class Request:
    """Where to export to, and how."""

    target: Target
    options: ExportOptions
    target_options: TargetOptions


@dataclass(frozen=True)
class Labelled:
    """Labelled samples and the original's class of each."""

    data: CalibrationData
    labels: np.ndarray
    original: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """A program ready to compile, its passes' records, and the original's answers to compare with.

    ``macs``: multiply-accumulates of the original on the first sample.
    """

    program: Program
    records: tuple[PassRecord, ...]
    samples: tuple[Sample, ...]
    reference: tuple[Sample, ...]
    macs: int
    labelled: Labelled | None = None


@dataclass(frozen=True)
class Outcome:
    """What running the artifact showed; all but ``not_run`` is empty where it could not run here.

    ``outputs``: its outputs on the first verification input. ``error``: against the original, over all of them.
    ``baseline``: cost of the plain export, measured alternately.
    """

    outputs: Sample | None = None
    error: Error | None = None
    accuracy: AccuracyResult | None = None
    timing: Timing | None = None
    baseline: Timing | None = None
    layers: tuple[Layer, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    not_run: str | None = None
    warnings: tuple[str, ...] = ()
