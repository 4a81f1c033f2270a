"""Distilling swapped blocks from the original: each on its own inputs first, then the whole model on its outputs.

    stage 1   min over the new parameters of   mean over blocks of |y - y*|^2 / |y*|^2,   y* the original's output
              of the block and y the swap's on the original's inputs, all blocks in one pass of the original
    stage 2   min over all of them, and optionally the old weights at a tenth of the rate, of the same over outputs

Stage 1 needs no backward pass through the model, and no block waits for another; it is what Zhang et al., LoLCATs,
ICLR 2025, call attention transfer. Errors are measured on held-out samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.errors import UserError
from edgeopt.folding.layers import is_layer
from edgeopt.program import Program
from edgeopt.rewrite import arguments
from edgeopt.structures.walk import evaluate
from edgeopt.tune.loop import Loop, OnProgress, Outcome, Parameters, TuneOptions

aten = torch.ops.aten

_NORMS = frozenset({aten.layer_norm.default, aten.rms_norm.default, aten.group_norm.default})
_HELD_OUT = 8
"""One sample in so many decides, and is not trained on."""
_OLD_WEIGHTS = 0.1
"""Rate of weights that the original has, as part of that of new ones: larger loses before it gains."""

Sample = dict[str, np.ndarray]
Values = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Swap:
    """``node`` of the tuned program computes what ``original`` of the original did, of the values of ``inputs``,
    which both have under one name. ``parameters`` are the tuned program's constants that it brought."""

    original: str
    node: str
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Tuned:
    """The tuned program; held-out relative errors of each swap's output (by original node) and of the model's,
    before and after; how each stage ended."""

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
    teacher: Program | None = None,
    on_progress: OnProgress = lambda stage, steps, error, left: None,
) -> Tuned:
    """Tune the swaps' parameters on unlabelled samples: stage 1 with ``blocks``, stage 2 with ``whole``.

    ``original`` has the blocks that were swapped; ``teacher`` the outputs to match, where earlier swaps made the
    original differ from it.
    Raises UserError where fewer than two samples are given.
    """
    options = options or TuneOptions()
    training, held_out = _split([{k: torch.from_numpy(v) for k, v in sample.items()} for sample in samples])
    teacher = teacher or original
    own = {name for swap in swaps for name in swap.parameters}
    found = _Blocks(original, swapped, swaps)
    seen = [found.values(sample) for sample in held_out]
    tuned, stages = swapped, []
    if blocks:
        stages.append(_tune_blocks(found, own, training, seen, options, on_progress))
        tuned = _with(tuned, stages[-1].parameters)
    if whole:
        stages.append(_tune_whole(teacher, tuned, own, training, held_out, options, on_progress))
        tuned = _with(tuned, stages[-1].parameters)
    return Tuned(
        tuned,
        found.errors({}, seen),
        _Blocks(original, tuned, swaps).errors({}, seen),
        _output_error(teacher, swapped, held_out),
        _output_error(teacher, tuned, held_out),
        tuple(stages),
    )


def _tune_blocks(
    blocks: _Blocks,
    names: set[str],
    training: Sequence[Values],
    seen: Sequence[Values],
    options: TuneOptions,
    on_progress: OnProgress,
) -> Outcome:
    return Loop("blocks", {name: blocks.swapped.constants[name] for name in sorted(names)}, {}).run(
        training,
        lambda parameters, sample: blocks.loss(parameters, blocks.values(sample)),
        lambda parameters: _mean(blocks.errors(parameters, seen).values()),
        options,
        on_progress,
    )


class _Blocks:
    """The swapped blocks, each evaluated on what the original's block read."""

    def __init__(self, original: Program, swapped: Program, swaps: Sequence[Swap]) -> None:
        self.original, self.swapped, self.swaps = original, swapped, swaps
        self.nodes = {node.name: node for node in swapped.graph.nodes}
        self.wanted = {name for swap in swaps for name in (swap.original, *swap.inputs)}

    def values(self, sample: Values) -> Values:
        """Return the original's values of all blocks' inputs and outputs, in one pass."""
        found: Values = {name: sample[name] for name in self.wanted & set(sample)}

        def keep(node: fx.Node, value: Any) -> None:
            if node.name in self.wanted:
                found[node.name] = value

        with torch.no_grad():
            self.original.evaluate(sample, keep)
        return found

    def loss(self, parameters: Parameters, values: Values) -> torch.Tensor:
        """Return the mean over blocks of the squared relative error."""
        return torch.stack([self._error(swap, parameters, values) for swap in self.swaps]).mean()

    def errors(self, parameters: Parameters, seen: Sequence[Values]) -> dict[str, float]:
        """Return the relative error of each block over held-out samples."""
        with torch.no_grad():
            return {
                swap.original: math.sqrt(_mean(float(self._error(swap, parameters, values)) for values in seen))
                for swap in self.swaps
            }

    def _error(self, swap: Swap, parameters: Parameters, values: Values) -> torch.Tensor:
        known = {self.nodes[name]: values[name] for name in swap.inputs}
        known |= {self.nodes[name]: parameters[name] for name in swap.parameters if name in parameters}
        return _relative(evaluate(self.swapped, self.nodes[swap.node], known), values[swap.original])


def _tune_whole(
    teacher: Program,
    swapped: Program,
    new: set[str],
    training: Sequence[Values],
    held_out: Sequence[Values],
    options: TuneOptions,
    on_progress: OnProgress,
) -> Outcome:
    parameters = {name: swapped.constants[name] for name in sorted(new | _weights(swapped))}
    slower = {name: _OLD_WEIGHTS for name in parameters if name not in new}

    def loss(tuned: Parameters, sample: Values) -> torch.Tensor:
        with torch.no_grad():
            wanted = teacher.evaluate(sample)
        return _distance(wanted, _with(swapped, tuned).evaluate(sample))

    loop = Loop("model", parameters, slower)
    gentler = replace(options, rate=options.rate / 10)
    return loop.run(training, loss, lambda p: _output_error(teacher, _with(swapped, p), held_out), gentler, on_progress)


def _weights(program: Program) -> set[str]:
    """Return the constants that are weight or bias of a layer or norm; masks and positions stay as they are."""
    held = set()
    for node in program.calls:
        if is_layer(node) or node.target in _NORMS:
            given = arguments(node)
            held |= {given[key].name for key in ("weight", "bias") if program.constant(given.get(key)) is not None}
    return held


def _split(samples: list[Values]) -> tuple[list[Values], list[Values]]:
    if len(samples) < 2:
        raise UserError(f"{len(samples)} samples to tune on", "give two at least; one is held out")
    every = min(_HELD_OUT, len(samples))
    held_out = samples[every - 1 :: every]
    return [s for i, s in enumerate(samples, 1) if i % every], held_out


def _with(program: Program, parameters: Parameters) -> Program:
    """Return the program over other values of some constants; the graph is shared."""
    return replace(program, constants={**program.constants, **parameters})


def _output_error(teacher: Program, swapped: Program, samples: Sequence[Values]) -> float:
    with torch.no_grad():
        found = [float(_distance(teacher.evaluate(s), swapped.evaluate(s))) for s in samples]
    return math.sqrt(_mean(found))


def _distance(wanted: Values, got: Values) -> torch.Tensor:
    pairs = [(got[name], value) for name, value in wanted.items() if value.is_floating_point()]
    return torch.stack([_relative(value, expected) for value, expected in pairs]).mean()


def _relative(value: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    return (value - expected).square().mean() / expected.square().mean().clamp_min(torch.finfo(value.dtype).tiny)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
