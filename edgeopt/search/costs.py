"""What each layer costs in a format: time or instructions, read from the runtime's layers, and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeopt.evidence import Prepared, Request
from edgeopt.program import Program, origin
from edgeopt.target import Layer
from edgeopt.trial import opened

_RUNS = 20


@dataclass(frozen=True)
class Sizes:
    """What is known of a layer before anything runs: its label, multiply-accumulates, and weights."""

    label: str
    macs: int
    weights: int


@dataclass(frozen=True)
class Profile:
    """Of one artifact: its bytes, and the cost of each layer in the session's unit."""

    bytes: int
    layers: dict[str, float]


def profile(program: Program, layers: Mapping[str, Sizes], prepared: Prepared, request: Request) -> Profile:
    """Compile and run a program, and attribute the costs of what runs to its layers."""
    with opened(program, request) as (session, size):
        ran = session.layers(prepared.samples[0], _RUNS)
    owners = {sizes.label: layer for layer, sizes in layers.items()}
    names = {node.name: owners[origin(node)] for node in program.calls if origin(node) in owners}
    return Profile(size, _attributed(ran, {**names, **{layer: layer for layer in layers}}, layers))


def _attributed(ran: tuple[Layer, ...], names: Mapping[str, str], layers: Mapping[str, Sizes]) -> dict[str, float]:
    """Return each layer's cost; by its multiply-accumulates where the runtime has no layer of its name."""
    costs: dict[str, float] = {}
    for one in ran:
        within = {names[part] for part in one.name.split(",") if part in names}
        for layer in within:
            # What is fused from several layers is shared out evenly.
            costs[layer] = costs.get(layer, 0.0) + (one.median or 0.0) / len(within)
    total, macs = sum(one.median or 0.0 for one in ran), sum(sizes.macs for sizes in layers.values()) or 1
    return {layer: costs.get(layer, total * sizes.macs / macs) for layer, sizes in layers.items()}
