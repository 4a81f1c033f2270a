"""How a program was quantized, and what the accuracy gate gave back, as data."""

from __future__ import annotations

from dataclasses import dataclass

from edgeopt.records.form import Decibels, Extended, Record


@dataclass(frozen=True)
class LayerSensitivity(Record):
    """What quantizing one layer alone does to the outputs."""

    layer: str
    """The layer."""
    op: str
    """Its operator."""
    sqnr_db: Decibels
    """Reference power over error power of the outputs in dB; null where it is infinite."""


@dataclass(frozen=True)
class GateAttempt(Record):
    """One attempt of the accuracy gate: an artifact, compiled and run."""

    kept: int
    """Number of layers kept in float, the most sensitive first."""
    ok: bool
    """Whether the limits on error and accuracy hold."""
    error: Extended
    """Relative error on the verification inputs."""
    accuracy: float | None
    """Accuracy on the labeled samples; null without labels."""
    bytes: int
    """Size of the artifact's files."""
    latency: float
    """Quick median latency, in the unit of `latency`."""


@dataclass(frozen=True)
class PairedLayer(Record):
    """A layer whose weights were rounded so that processors without VNNI, too, sum its products exactly."""

    layer: str
    """The layer."""
    op: str
    """Its operator."""
    full_db: Extended
    """Weight power over rounding error power in dB, had its weights taken all of int8; null where it is infinite."""
    sqnr_db: Extended
    """The same of the weights as they are; null where it is infinite."""


@dataclass(frozen=True, kw_only=True)
class Quantization(Record):
    """How the program was quantized."""

    method: str = ""
    """How the ranges of activations were found."""
    recoveries: tuple[str, ...] = ()
    """Passes that recovered accuracy."""
    quantized: int = 0
    """Number of operators that run on integers."""
    kept_float: tuple[str, ...] = ()
    """Layers that stay in float: given back by the accuracy gate, or on request."""
    layers: tuple[LayerSensitivity, ...] = ()
    """Layers by sensitivity, worst first, where the gate had to look."""
    attempts: tuple[GateAttempt, ...] = ()
    """What the gate tried, in order."""
    paired: tuple[PairedLayer, ...] = ()
    """Layers whose weights give up some of int8 so that processors without VNNI are exact, and what that cost."""
