"""Distilling swapped blocks from the original: each on its own inputs first, then the whole model on its outputs.

    stage 1   min over the swaps' parameters of   mean over blocks of |y - y*|^2 / |y*|^2,   y* the original's output
              of the block and y the swap's on the original's inputs, all blocks in one pass of the original
    stage 2   min over all parameters, and the old weights at a smaller rate, of the same over the outputs

Where an output is a softmax, the values that it reads are compared: probabilities hide how far off they are.
Stage 1 needs no backward pass through the model, and no block waits for another; it is what Zhang et al., LoLCATs,
ICLR 2025, call attention transfer. Errors are measured on held-out samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from edgeopt.folding.layers import is_layer
from edgeopt.program import Program, origin
from edgeopt.rewrite import arguments
from edgeopt.structures.walk import evaluate
from edgeopt.tune.batches import Sample, Values, joined, split
from edgeopt.tune.loop import Loop, OnProgress, Outcome, Parameters, TuneOptions
from edgeopt.tune.swap import Swap

aten = torch.ops.aten

_NORMS = frozenset({aten.layer_norm.default, aten.rms_norm.default, aten.group_norm.default})
_SOFTMAXES = frozenset({aten.softmax.int, aten._softmax.default, aten.log_softmax.int})
_BLOCKS_SHARE = 1 / 3
"""Part of the time that stage 1 takes where stage 2 follows."""
_CHECKED = 16
"""Held-out samples that decide while tuning; all are measured at the end."""


def silent(stage: str, steps: int, error: float, left: float) -> None:
    """Tell nobody of the progress."""


@dataclass(frozen=True)
class Tuned:
    """The tuned program; held-out relative errors of each swap's output (by label) and of the model's, before and
    after; how each stage ended."""

    program: Program
    blocks_before: dict[str, float]
    blocks_after: dict[str, float]
    outputs_before: float
    outputs_after: float
    stages: tuple[Outcome, ...]


def distil(
    original: Program,
    swapped: Program,
    swaps: Sequence[Swap],
    samples: Iterable[Sample],
    options: TuneOptions | None = None,
    blocks: bool = True,
    whole: bool = False,
    on_progress: OnProgress = silent,
) -> Tuned:
    """Tune the swaps' parameters on unlabelled samples: stage 1 with ``blocks``, stage 2 with ``whole``.

    Raises UserError where fewer than two samples are given.
    """
    distillation = Distillation(original, *split(samples), options or TuneOptions(), on_progress)
    return distillation.run(swapped, swaps, blocks, whole)


class Distillation:
    """An original and its samples, from which swapped programs are tuned; the original's answers are kept."""

    def __init__(
        self,
        original: Program,
        training: Sequence[Sample],
        held_out: Sequence[Sample],
        options: TuneOptions,
        on_progress: OnProgress = silent,
    ) -> None:
        self.original, self.options, self.on_progress = original, options, on_progress
        self._scored = with_logits(original)
        self.training = joined(original, training, options.batch)
        self.held_out = joined(original, held_out, options.batch)
        self.checked = joined(original, held_out[:_CHECKED], options.batch)
        self._answers: dict[int, Values] = {}

    def run(self, swapped: Program, swaps: Sequence[Swap], blocks: bool = True, whole: bool = True) -> Tuned:
        """Tune by stages within the options' budget."""
        fitting = [swap for swap in swaps if not swap.is_fitted]
        blocks = blocks and bool(fitting)
        tuned, stages = swapped, []
        if blocks:
            part = _BLOCKS_SHARE if whole else 1.0
            stages.append(self.tune_blocks(tuned, fitting, replace(self.options, seconds=self.options.seconds * part)))
            tuned = with_constants(tuned, stages[-1].parameters)
        if whole:
            part = 1 - _BLOCKS_SHARE if blocks else 1.0
            stages.append(self.tune_model(tuned, swaps, replace(self.options, seconds=self.options.seconds * part)))
            tuned = with_constants(tuned, stages[-1].parameters)
        return Tuned(
            tuned,
            self.block_errors(swapped, swaps),
            self.block_errors(tuned, swaps),
            self.output_error(swapped),
            self.output_error(tuned),
            tuple(stages),
        )

    def tune_blocks(self, swapped: Program, swaps: Sequence[Swap], options: TuneOptions) -> Outcome:
        """Match each block to the original's on the original's inputs."""
        blocks = _Blocks(self.original, swapped, swaps)
        seen = [blocks.values(batch) for batch in self.checked]
        names = {name for swap in swaps for name in swap.parameters}
        return self._loop("blocks", swapped, names).run(
            self.training,
            lambda parameters, batch: blocks.loss(parameters, blocks.values(batch)),
            lambda parameters: _mean(blocks.errors(parameters, seen).values()),
            options,
            self.on_progress,
        )

    def tune_model(
        self, swapped: Program, swaps: Sequence[Swap], options: TuneOptions, stage: str = "model"
    ) -> Outcome:
        """Match the model's outputs to the original's."""
        names = {name for swap in swaps for name in swap.parameters} | _weights(swapped)
        scored, fading = with_logits(swapped), _Fading(swapped, swaps)
        return self._loop(stage, swapped, names, fading).run(
            self.training,
            lambda tuned, batch: _distance(self._answer(batch), fading.taught(scored, tuned).evaluate(batch)),
            lambda tuned: self._error(with_constants(scored, tuned), self.checked),
            replace(options, rate=options.rate * options.model_part),
            self.on_progress,
        )

    def block_errors(self, swapped: Program, swaps: Sequence[Swap]) -> dict[str, float]:
        """Return the held-out relative error of each block on the original's inputs."""
        blocks = _Blocks(self.original, swapped, swaps)
        found = [blocks.errors({}, [blocks.values(batch)]) for batch in self.held_out]
        return {swap.original: _root_mean_square(errors[swap.original] for errors in found) for swap in swaps}

    def output_error(self, swapped: Program) -> float:
        """Return the held-out relative error of the model's outputs."""
        return self._error(with_logits(swapped), self.held_out)

    def _loop(
        self, stage: str, swapped: Program, names: Iterable[str], schedule: Callable[[float], bool] = lambda spent: True
    ) -> Loop:
        parameters = {name: swapped.constants[name] for name in sorted(names)}
        old = self.options.old_part
        return Loop(stage, parameters, {name: old for name in parameters if name in self.original.constants}, schedule)

    def _error(self, scored: Program, batches: Sequence[Values]) -> float:
        with torch.no_grad():
            return math.sqrt(_mean(float(_distance(self._answer(b), scored.evaluate(b))) for b in batches))

    def _answer(self, batch: Values) -> Values:
        """Return the original's outputs, computed once."""
        if id(batch) not in self._answers:
            with torch.no_grad():
                self._answers[id(batch)] = self._scored.evaluate(batch)
        return self._answers[id(batch)]


class _Blocks:
    """The swapped blocks, each evaluated on what the original's block read."""

    def __init__(self, original: Program, swapped: Program, swaps: Sequence[Swap]) -> None:
        self.original, self.swapped, self.swaps = original, swapped, swaps
        self.nodes = {origin(node): node for node in swapped.graph.nodes if node.op != "output"}
        self.wanted = {name for swap in swaps for name in (swap.original, *swap.inputs)}

    def values(self, batch: Values) -> dict[str, Any]:
        """Return the original's values of all blocks' inputs and outputs, in one pass."""
        found: dict[str, Any] = {name: batch[name] for name in self.wanted & set(batch)}

        def keep(node: fx.Node, value: Any) -> None:
            if origin(node) in self.wanted:
                found[origin(node)] = value

        with torch.no_grad():
            self.original.evaluate(batch, keep)
        return found

    def loss(self, parameters: Parameters, values: dict[str, Any]) -> torch.Tensor:
        """Return the mean over blocks of the squared relative error."""
        return torch.stack([self._error(swap, parameters, values) for swap in self.swaps]).mean()

    def errors(self, parameters: Parameters, seen: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Return the relative error of each block over held-out samples."""
        with torch.no_grad():
            return {
                swap.original: math.sqrt(_mean(float(self._error(swap, parameters, values)) for values in seen))
                for swap in self.swaps
            }

    def _error(self, swap: Swap, parameters: Parameters, values: dict[str, Any]) -> torch.Tensor:
        known = {self.nodes[label]: values[label] for label in swap.inputs}
        known |= {self.nodes[name]: parameters[name] for name in swap.parameters if name in parameters}
        return _relative(evaluate(self.swapped, self.nodes[swap.original], known), values[swap.original])


class _Fading:
    """What fades out while the model is tuned: a schedule for its loop. Held-out samples are judged without it."""

    def __init__(self, swapped: Program, swaps: Sequence[Swap]) -> None:
        self.parts = dict(swap.fades for swap in swaps if swap.fades is not None)
        self.constants = {name: torch.ones_like(swapped.constants[name]) for name in self.parts}

    def __call__(self, spent: float) -> bool:
        """Return whether all has faded."""
        for name, part in self.parts.items():
            self.constants[name].fill_(max(0.0, 1 - spent / part))
        return not any(bool(constant) for constant in self.constants.values())

    def taught(self, program: Program, tuned: Parameters) -> Program:
        """Return the program as it is evaluated in training."""
        return with_constants(program, {**tuned, **self.constants})


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


def _weights(program: Program) -> set[str]:
    """Return the constants that are weight or bias of a layer or norm; masks and positions stay as they are."""
    held = set()
    for node in program.calls:
        if is_layer(node) or node.target in _NORMS:
            given = arguments(node)
            held |= {given[key].name for key in ("weight", "bias") if program.constant(given.get(key)) is not None}
    return held


def _distance(wanted: Values, got: Values) -> torch.Tensor:
    pairs = [(got[name], value) for name, value in wanted.items() if value.is_floating_point()]
    return torch.stack([_relative(value, expected) for value, expected in pairs]).mean()


def _relative(value: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    return (value - expected).square().mean() / expected.square().mean().clamp_min(torch.finfo(value.dtype).tiny)


def _root_mean_square(values: Iterable[float]) -> float:
    return math.sqrt(_mean(value * value for value in values))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
