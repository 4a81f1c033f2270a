"""What an export knows at each stage: the request, the program prepared for it, and what running it showed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeopt.accuracy import AccuracyResult
from edgeopt.calib.data import CalibrationData
from edgeopt.compare import Error
from edgeopt.inputs import Sample
from edgeopt.ledger import Ledger
from edgeopt.measure import Timing
from edgeopt.options import ExportOptions
from edgeopt.pipeline import PassRecord
from edgeopt.program import Program
from edgeopt.quant.scheme import Scheme
from edgeopt.quantisation import Calibrated, OnPass
from edgeopt.report.run import Model
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
class Sensitivity:
    """What quantising one layer alone does to the outputs: reference power over error power in dB."""

    layer: str
    op: str
    sqnr_db: float


@dataclass(frozen=True)
class Verdict:
    """One attempt of the accuracy gate: layers kept in float, whether the limits hold, and what was measured.

    ``error``: relative, on the verification inputs. ``accuracy``: on labelled data. ``bytes`` and ``latency`` of the
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
class QuantisedStage:
    """How a program was quantised, so that it can be quantised again with other layers kept in float.

    ``first_record``: index of the first record that a repetition replaces.
    """

    ready: Calibrated
    scheme: Scheme
    ledger: Ledger
    on_pass: OnPass
    first_record: int
    gate: GateRecord | None = None


@dataclass(frozen=True)
class Prepared:
    """A program ready to compile, its passes' records, and the original's answers to compare with.

    ``macs``: multiply-accumulates of the original on the first sample. ``stage``: how it was quantised, if it was.
    """

    program: Program
    records: tuple[PassRecord, ...]
    samples: tuple[Sample, ...]
    reference: tuple[Sample, ...]
    macs: int
    labelled: Labelled | None = None
    stage: QuantisedStage | None = None


@dataclass(frozen=True)
class Evidence:
    """What outlasts the programs once they are compiled: facts of the model, records, and answers to compare with.

    ``gate``: what the accuracy gate did; None where nothing was quantised.
    """

    model: Model
    records: tuple[PassRecord, ...]
    samples: tuple[Sample, ...]
    reference: tuple[Sample, ...]
    labelled: Labelled | None
    gate: GateRecord | None


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
