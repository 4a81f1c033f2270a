"""What precision auto tried and chose, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeopt.records.form import Extended, Record
from edgeopt.records.outputs import Error


@dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """A configuration of formats that was compiled, run and measured."""

    counts: Mapping[str, int]
    """Number of layers by format."""
    float_precision: str | None
    """Format of what stays in float; null where there is no choice."""
    error: Error
    """Error on the verification inputs."""
    accuracy: float | None
    """Accuracy on the labeled samples; null without labels."""
    bytes: int
    """Size of the artifact's files."""
    latency: float
    """Quick median latency, in the unit of `latency`."""
    speedup: float
    """Over the most exact configuration, measured in turn with it."""
    ok: bool = False
    """Whether all limits hold."""
    on_front: bool = False
    """Whether no other trial is as good in error, speed and size and better in one."""


@dataclass(frozen=True)
class LayerFormat(Record):
    """The format of one layer, and the estimates that spoke for it."""

    layer: str
    """The layer."""
    op: str
    """Its operator."""
    format: str
    """The format it is in."""
    noise: Mapping[str, Extended]
    """By format: noise of the outputs as part of their power, with this layer alone in it."""
    cost: Mapping[str, float | None]
    """By format: its cost in the profile of an artifact in which all layers are in it, in the unit of `latency`; null
    where the runtime shows no layer of its own."""


@dataclass(frozen=True)
class Search(Record):
    """What was tried, and what was chosen."""

    trials: tuple[Trial, ...]
    """Configurations in the order in which they were tried."""
    chosen: int
    """Index of the trial that was exported."""
    layers: tuple[LayerFormat, ...]
    """Layers in the order in which they run."""
    reused: int
    """Measurements that an earlier search had made."""
