"""A swapped program as stage 2 tunes it: which parameters, at what loss, and what fades out meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from edgeopt.analysis.layers import is_layer
from edgeopt.distill import low_rank
from edgeopt.distill.batches import Batch, Values
from edgeopt.distill.blocks import observer, relative
from edgeopt.distill.labels import cross_entropy
from edgeopt.distill.loop import Parameters, TuneOptions
from edgeopt.distill.swap import Swap
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import NORMS

_SOFTMAXES = frozenset({aten.softmax.int, aten._softmax.default, aten.log_softmax.int})


class Model:
    """``parameters`` are those to tune: of the swaps, and all weights, or low-rank updates of the old ones."""

    def __init__(self, swapped: Program, swaps: Sequence[Swap], old: Collection[str], options: TuneOptions) -> None:
        """``old`` names the constants that the original has too."""
        self.options, self.scored, self.fading = options, with_logits(swapped), Fading(swapped, swaps)
        self.blocks = {swap.original for swap in swaps} if options.blocks_part else set()
        names = {name for swap in swaps for name in swap.parameters} | _weights(swapped)
        self.weights = {name: swapped.constants[name] for name in names}
        self.parameters: Parameters = dict(self.weights)
        if options.rank:
            new = {name: weight for name, weight in self.weights.items() if name not in old}
            held = {name: weight for name, weight in self.weights.items() if name in old}
            self.parameters = new | low_rank.factors(held, options.rank, options.seed)

    def merged(self, parameters: Parameters) -> Parameters:
        """Return the weights that the parameters stand for."""
        return low_rank.merged(parameters, self.weights)

    def error(self, parameters: Parameters, batch: Batch, answer: Values) -> torch.Tensor:
        """Return what held-out samples decide by."""
        program = with_constants(self.scored, self.merged(parameters))
        return self._error(program.evaluate(batch.values), batch.values, answer)

    def loss(
        self, parameters: Parameters, batch: Batch, answer: Values, originals: Callable[[Batch], dict[str, Any]]
    ) -> torch.Tensor:
        """Return the error with what fades still there, and the blocks' where the options ask for it."""
        found: dict[str, Any] = {}
        program = with_constants(self.scored, {**self.merged(parameters), **self.fading.constants})
        outputs = program.evaluate(batch.values, observer(self.blocks, found))
        error = self._error(outputs, batch.values, answer)
        if not self.blocks:
            return error
        wanted = originals(batch)
        apart = torch.stack([relative(value, wanted[label]) for label, value in found.items()])
        return error + self.options.blocks_part * apart.mean()

    def _error(self, outputs: Values, batch: Values, answer: Values) -> torch.Tensor:
        """Return the squared distance from the original's answer, and that from the labels."""
        apart = distance(answer, outputs)
        return apart + self.options.label_part * cross_entropy(outputs, batch) if self.options.label_part else apart


class Fading:
    """What fades out while the model is tuned: a schedule for its loop. Held-out samples are judged without it."""

    def __init__(self, swapped: Program, swaps: Sequence[Swap]) -> None:
        self.parts = dict(swap.fades for swap in swaps if swap.fades is not None)
        self.constants = {name: torch.ones_like(swapped.constants[name]) for name in self.parts}

    def __call__(self, spent: float) -> bool:
        """Return whether all has faded."""
        for name, part in self.parts.items():
            self.constants[name].fill_(max(0.0, 1 - spent / part))
        return not any(bool(constant) for constant in self.constants.values())


def with_constants(program: Program, constants: Parameters) -> Program:
    """Return the program over other values of some constants; the graph is shared."""
    return replace(program, constants={**program.constants, **constants})


def with_logits(program: Program) -> Program:
    """Return the program with what a softmax reads in the place of each output that a softmax makes."""
    if not any(node.target in _SOFTMAXES for node in program.results):
        return program
    copy = program.clone()
    results = [node.all_input_nodes[0] if node.target in _SOFTMAXES else node for node in copy.results]
    copy.output_node.args = (tuple(results),)
    return copy


def distance(wanted: Values, got: Values) -> torch.Tensor:
    """Return the mean over outputs of the squared relative error."""
    pairs = [(got[name], value) for name, value in wanted.items() if value.is_floating_point()]
    return torch.stack([relative(value, expected) for value, expected in pairs]).mean()


def _weights(program: Program) -> set[str]:
    """Return the constants that are weight or bias of a layer or norm; masks and positions stay as they are."""
    held = set()
    for node in program.calls:
        if is_layer(node) or node.target in NORMS:
            given = arguments(node)
            held |= {given[key].name for key in ("weight", "bias") if program.constant(given.get(key)) is not None}
    return held
