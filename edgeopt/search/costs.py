"""What each layer costs in a format: time or instructions, read from the runtime's layers, and bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import fx

from edgeopt.candidate.compile import observed, tried
from edgeopt.candidate.stages import Prepared, Request
from edgeopt.ir.program import Program, first_origin
from edgeopt.records.layers import Layer

_RUNS = 20


@dataclass(frozen=True)
class Sizes:
    """What is known of a layer before anything runs: its label, multiply-accumulates, and weights."""

    label: str
    macs: int
    weights: int


@dataclass(frozen=True)
class Profile:
    """Of one artifact: its bytes, and in the session's unit the cost of all that runs, and of each layer.

    Of a layer that the runtime shows no layer of its own for nothing is known.
    """

    bytes: int
    total: float
    layers: dict[str, float]


def profile(program: Program, layers: Mapping[str, Sizes], prepared: Prepared, request: Request) -> Profile:
    """Compile and run a program, and attribute the costs of what runs to its layers."""
    with tried(program, request, observed(prepared, request)) as (candidate, session):
        ran = session.layers(prepared.samples[0], _RUNS)
    return Profile(candidate.bytes, sum(one.median or 0.0 for one in ran), attributed(ran, owners(program, layers)))


def owners(program: Program, layers: Mapping[str, Sizes]) -> dict[str, str]:
    """Return by node of a program the layer that it computes, or whose weights it prepares."""
    labels = {sizes.label: layer for layer, sizes in layers.items()}
    constant = _of_constants(program)
    found = {}
    for node in program.calls:
        if (layer := labels.get(first_origin(node))) is not None:
            found.update(dict.fromkeys((node.name, *_preparing(node, constant)), layer))
    return found


def attributed(ran: tuple[Layer, ...], owner: Mapping[str, str]) -> dict[str, float]:
    """Return the cost of each layer that any of the runtime's computes; what computes several is shared out evenly."""
    costs: dict[str, float] = {}
    for one in ran:
        within = {owner[name] for name in one.computes if name in owner}
        for layer in within:
            costs[layer] = costs.get(layer, 0.0) + (one.median or 0.0) / len(within)
    return costs


def _preparing(node: fx.Node, constant: Collection[fx.Node]) -> Iterator[str]:
    """Yield the names of the operators that compute what a node reads from constants alone."""
    pending = [node]
    while pending:
        sources = [source for source in pending.pop().all_input_nodes if source in constant]
        yield from (source.name for source in sources)
        pending += sources


def _of_constants(program: Program) -> set[fx.Node]:
    """Return the operators that compute from constants alone."""
    found: set[fx.Node] = set()
    for node in program.calls:
        if all(source in found or program.constant(source) is not None for source in node.all_input_nodes):
            found.add(node)
    return found
