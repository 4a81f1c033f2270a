"""What an export knows at each stage: the request, the program prepared for it, and what running it showed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.analysis.noise import Noise
from edgeopt.calib.data import CalibrationData
from edgeopt.candidate.accuracy import Runner, classes
from edgeopt.candidate.limits import Measured
from edgeopt.candidate.options import ExportOptions
from edgeopt.candidate.quantize import Calibrated, OnPass
from edgeopt.ir.metrics import Comparison, Reference, Sample
from edgeopt.ir.program import Program
from edgeopt.plugins.target import Target, TargetOptions
from edgeopt.quant.scheme import Scheme
from edgeopt.records.latency import Baseline, Latency
from edgeopt.records.layers import Fallback, Layer
from edgeopt.records.limits import Limit
from edgeopt.records.outputs import Error
from edgeopt.records.passes import PassRecord
from edgeopt.records.quantization import Quantization
from edgeopt.records.run import Accuracy, Model
from edgeopt.records.search import Search
from edgeopt.records.swaps import Swaps

OnProgress = Callable[[str], None]
"""Is told in a few words what happens next."""


@dataclass(frozen=True)
class Request:
    """Where to export to, and how."""

    target: Target
    options: ExportOptions
    target_options: TargetOptions


@dataclass(frozen=True)
class Labeled:
    """Labeled samples and the original's class of each."""

    data: CalibrationData
    labels: np.ndarray
    original: np.ndarray

    def accuracy(self, run: Runner) -> float:
        """Return the part of the samples, 0 to 1, whose class ``run`` finds."""
        return float(np.mean(classes(self.data, run) == self.labels))

    def drop(self, accuracy: float) -> float:
        """Return by how much an accuracy is below the original's."""
        return float(np.mean(self.original == self.labels)) - accuracy


def measured(error: Error, accuracy: float | None, labeled: Labeled | None) -> Measured:
    """Return what a candidate answered, as limits are held against it."""
    drop = labeled.drop(accuracy) if labeled is not None and accuracy is not None else None
    return Measured(error=error, accuracy=accuracy, drop=drop)


@dataclass(frozen=True)
class QuantizedStage:
    """How a program was quantized, so that it can be quantized again with other layers kept in float.

    ``first_record``: index of the first record that a repetition replaces. ``gate``: what the accuracy gate did.
    """

    ready: Calibrated
    scheme: Scheme
    tracker: AccuracyTracker
    on_pass: OnPass
    first_record: int
    gate: Quantization = field(default_factory=Quantization)


@dataclass(frozen=True)
class Prepared:
    """A program ready to compile, its passes' records, and the original's answers to compare with.

    ``noise``: what rounding alone does to the original's outputs. ``macs``: multiply-accumulates of the original on the
    first sample. ``stage``: how it was quantized, if it was.
    ``swapped``: what a recipe did, if there was one. ``searched``: what precision ``auto`` tried. ``formats``: by node
    the format of the layer that it computes, where ``auto`` chose it. ``doubts``: which verification inputs could not
    be invented, and where calibrated ranges do not fit the example.
    """

    program: Program
    records: tuple[PassRecord, ...]
    samples: tuple[Sample, ...]
    reference: Reference
    noise: Noise
    macs: int
    labeled: Labeled | None = None
    stage: QuantizedStage | None = None
    swapped: Swaps | None = None
    searched: Search | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What outlasts the programs once they are compiled: parts of the record, and a sample to measure on.

    ``is_binary``: whether the program computes with signs. ``formats``, ``doubts``: as of ``Prepared``.
    """

    model: Model
    passes: tuple[PassRecord, ...]
    sample: Sample
    noise: Noise
    quantization: Quantization | None
    swapped: Swaps | None
    searched: Search | None
    is_binary: bool
    formats: Mapping[str, str]
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What running the artifact showed; all but ``not_run`` is empty where it could not run here.

    ``outputs``: its outputs on the first verification input. ``comparison``: with the original's, over all of them.
    ``checked``: the default limits. ``cause``: where a difference that misses them begins.
    ``baseline``: the plain export, measured alternately; ``plain_layers``: its layers, where it is faster.
    """

    outputs: Sample | None = None
    comparison: Comparison | None = None
    checked: tuple[Limit, ...] = ()
    cause: str | None = None
    accuracy: Accuracy | None = None
    latency: Latency | None = None
    baseline: Baseline | None = None
    plain_layers: tuple[Layer, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    not_run: str | None = None
    warnings: tuple[str, ...] = ()
