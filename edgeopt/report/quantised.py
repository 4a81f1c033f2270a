"""How a program was quantised, as data."""

from __future__ import annotations

from edgeopt.report.form import Extended, Record


class LayerSensitivity(Record):
    """What quantising one layer alone does to the outputs."""

    layer: str
    """The layer."""
    op: str
    """Its operator."""
    sqnr_db: Extended
    """Reference power over error power of the outputs in dB; null where it is infinite."""


class GateAttempt(Record):
    """One attempt of the accuracy gate: an artifact, compiled and run."""

    kept: int
    """Number of layers kept in float, the most sensitive first."""
    ok: bool
    """Whether the limits on error and accuracy hold."""
    error: Extended
    """Relative error on the verification inputs."""
    accuracy: float | None
    """Accuracy on the labelled samples; null without labels."""
    bytes: int
    """Size of the artifact's files."""
    latency: float
    """Quick median latency, in the unit of `latency`."""


class Quantisation(Record):
    """How the program was quantised."""

    method: str
    """How the ranges of activations were found."""
    recoveries: tuple[str, ...] = ()
    """Passes that recovered accuracy."""
    quantised: int
    """Number of operators that run on integers."""
    kept_float: tuple[str, ...] = ()
    """Layers that stay in float: given back by the accuracy gate, or on request."""
    layers: tuple[LayerSensitivity, ...] = ()
    """Layers by sensitivity, worst first, where the gate had to look."""
    attempts: tuple[GateAttempt, ...] = ()
    """What the gate tried, in order."""
