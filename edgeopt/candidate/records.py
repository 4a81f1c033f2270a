"""What an export knows at each stage: the request, the program prepared for it, and what running it showed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.analysis.noise import Noise
from edgeopt.analysis.saturation import PairCost
from edgeopt.calib.data import CalibrationData
from edgeopt.candidate.accuracy import AccuracyResult, Runner, classes
from edgeopt.candidate.limits import Checked, Measured
from edgeopt.candidate.measure import Timing
from edgeopt.candidate.options import ExportOptions
from edgeopt.candidate.quantize import Calibrated, OnPass
from edgeopt.ir.metrics import Comparison, Error, Reference, Sample
from edgeopt.ir.pass_base import PassRecord
from edgeopt.ir.program import Program
from edgeopt.plugins.target import Fallback, Layer, Target, TargetOptions
from edgeopt.quant.scheme import Scheme
from edgeopt.recipes.recipe import Recipe
from edgeopt.report.run import Model

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
class Sensitivity:
    """What quantizing one layer alone does to the outputs: reference power over error power in dB."""

    layer: str
    op: str
    sqnr_db: float


@dataclass(frozen=True)
class Verdict:
    """One attempt of the accuracy gate: layers kept in float, whether the limits hold, and what was measured.

    ``error``: relative, on the verification inputs. ``accuracy``: on labeled data. ``bytes`` and ``latency`` of the
    artifact: the latency is a quick median in the session's unit.
    """

    kept: int
    ok: bool
    error: float
    accuracy: float | None
    bytes: int
    latency: float


@dataclass(frozen=True)
class GateRecord:
    """What the accuracy gate did: layers by sensitivity (worst first), those kept in float, its attempts in order."""

    layers: tuple[Sensitivity, ...]
    kept: tuple[str, ...]
    attempts: tuple[Verdict, ...]


@dataclass(frozen=True)
class QuantizedStage:
    """How a program was quantized, so that it can be quantized again with other layers kept in float.

    ``first_record``: index of the first record that a repetition replaces.
    """

    ready: Calibrated
    scheme: Scheme
    tracker: AccuracyTracker
    on_pass: OnPass
    first_record: int
    gate: GateRecord | None = None


@dataclass(frozen=True)
class Trial:
    """A configuration of formats that was compiled, run and measured.

    ``counts``: layers by format; ``float_precision``: that of what is in float, where there is a choice. ``latency`` is
    in the session's unit; ``speedup`` over the exact configuration, which was measured in turn with it. ``ok``: all
    limits hold; ``on_front``: it is on the Pareto front of error, speed and size.
    """

    counts: Mapping[str, int]
    float_precision: str | None
    error: Error
    accuracy: float | None
    bytes: int
    latency: float
    speedup: float
    ok: bool
    on_front: bool


@dataclass(frozen=True)
class LayerChoice:
    """The format of a layer, and by format the noise of the outputs with it alone in it and its cost, None where the
    runtime shows no layer of its own."""

    layer: str
    op: str
    format: str
    noise: Mapping[str, float]
    cost: Mapping[str, float | None]


@dataclass(frozen=True)
class SearchRecord:
    """What precision ``auto`` tried, in order, and which trial was chosen (its index).

    ``reused``: measurements that were known from before. ``formats``: by node of the exported program, the format of
    the layer that it computes.
    """

    trials: tuple[Trial, ...]
    chosen: int
    layers: tuple[LayerChoice, ...]
    reused: int
    formats: Mapping[str, str]


@dataclass(frozen=True)
class SwapVerdict:
    """One attempt of a recipe's gate: swaps given back, whether the limits hold, and what the program shows.

    ``error`` is on held-out samples; ``accuracy`` on labeled data.
    """

    kept: int
    ok: bool
    error: Error
    accuracy: float | None


@dataclass(frozen=True)
class SwappedLayer:
    """A place that a recipe swapped: its pass, and the relative error of its output on the original's inputs before
    and after tuning. ``alone``: reference power over error power of the model's outputs with it alone swapped, in dB,
    where the gate had to look. ``kept``: it was given back to the original."""

    layer: str
    by: str
    before: float
    after: float
    alone: float | None
    kept: bool


@dataclass(frozen=True)
class TunedStage:
    """A stage of tuning: steps done, held-out error before and after, why it ended."""

    name: str
    steps: int
    before: float
    after: float
    ended: str


@dataclass(frozen=True)
class SwapRecord:
    """What a recipe swapped, how it was tuned, and what its gate gave back.

    ``samples``: trained on, and held out. ``before`` and ``after``: held-out relative error of the outputs (root mean
    square) of all swaps untuned, and of the program as it is exported. ``figures``: what was measured on the target
    of swaps that pay.
    """

    recipe: Recipe
    samples: tuple[int, int] = (0, 0)
    before: float = 0.0
    after: float = 0.0
    stages: tuple[TunedStage, ...] = ()
    layers: tuple[SwappedLayer, ...] = ()
    attempts: tuple[SwapVerdict, ...] = ()
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A program ready to compile, its passes' records, and the original's answers to compare with.

    ``noise``: what rounding alone does to the original's outputs. ``macs``: multiply-accumulates of the original on the
    first sample. ``stage``: how it was quantized, if it was.
    ``swapped``: what a recipe did, if there was one. ``searched``: what precision ``auto`` tried. ``left_out``: which
    verification inputs could not be invented, and why.
    """

    program: Program
    records: tuple[PassRecord, ...]
    samples: tuple[Sample, ...]
    reference: Reference
    noise: Noise
    macs: int
    labeled: Labeled | None = None
    stage: QuantizedStage | None = None
    swapped: SwapRecord | None = None
    searched: SearchRecord | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What outlasts the programs once they are compiled: facts of the model, records, and answers to compare with.

    ``gate``: what the accuracy gate did; None where nothing was quantized. ``is_binary``: whether the program computes
    with signs. ``paired``: layers whose weights were rounded for processors without VNNI, and what that cost.
    """

    model: Model
    records: tuple[PassRecord, ...]
    samples: tuple[Sample, ...]
    reference: Reference
    noise: Noise
    labeled: Labeled | None
    gate: GateRecord | None
    swapped: SwapRecord | None = None
    searched: SearchRecord | None = None
    is_binary: bool = False
    left_out: tuple[str, ...] = ()
    paired: tuple[PairCost, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What running the artifact showed; all but ``not_run`` is empty where it could not run here.

    ``outputs``: its outputs on the first verification input. ``comparison``: with the original's, over all of them.
    ``checked``: the default limits. ``cause``: where a difference that misses them begins.
    ``baseline``: cost of the plain export, measured alternately; ``plain_layers``: its layers, where it is faster.
    """

    outputs: Sample | None = None
    comparison: Comparison | None = None
    checked: tuple[Checked, ...] = ()
    cause: str | None = None
    accuracy: AccuracyResult | None = None
    timing: Timing | None = None
    baseline: Timing | None = None
    layers: tuple[Layer, ...] = ()
    plain_layers: tuple[Layer, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    not_run: str | None = None
    warnings: tuple[str, ...] = ()
