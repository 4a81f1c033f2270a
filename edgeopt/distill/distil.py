"""Distilling swapped blocks from the original: each on its own inputs first, then the whole model on its outputs.

    start     what some swaps learn from the original's values without tuning, such as hash functions
    stage 1   min over the swaps' parameters of   mean over blocks of |y - y*|^2 / |y*|^2,   y* the original's output
              of the block and y the swap's on the original's inputs, all blocks in one pass of the original
    stage 2   min over all parameters, and the old weights at a smaller rate, of the same over the outputs, to which
              may be added: the same over the blocks' outputs, as the tuned model computes them from its own values,
              which say for each token what a pooled output leaves open; and the cross-entropy with labels

Where an output is a softmax, the values that it reads are compared: probabilities hide how far off they are.
Stage 1 needs no backward pass through the model, and no block waits for another; it is what Zhang et al., LoLCATs,
ICLR 2025, call attention transfer. Errors are measured on held-out samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from edgeopt.distill.batches import Batch, Values, joined, split
from edgeopt.distill.blocks import Blocks, Originals, labels, mean
from edgeopt.distill.loop import Loop, OnProgress, Outcome, Parameters, TuneOptions
from edgeopt.distill.model import Model, distance, with_constants, with_logits
from edgeopt.distill.swap import Swap
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program

_BLOCKS_SHARE = 1 / 3
"""Part of the time that stage 1 takes where stage 2 follows."""
_START_SAMPLES = 16
"""Samples that what precedes tuning learns from, at most."""
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
) -> Tuned:
    """Tune the swaps' parameters on unlabeled samples: stage 1 with ``blocks``, stage 2 with ``whole``.

    Raises UserError where fewer than two samples are given.
    """
    distillation = Distillation(original, *split(samples), options or TuneOptions())
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
        self._answers: dict[Batch, Values] = {}
        self._values: Originals | None = None

    def run(self, swapped: Program, swaps: Sequence[Swap], blocks: bool = True, whole: bool = True) -> Tuned:
        """Tune by stages within the options' budget."""
        swapped = self.started(swapped, swaps)
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

    def started(self, swapped: Program, swaps: Sequence[Swap]) -> Program:
        """Return the swapped program over what its swaps learn before any is tuned.

        Raises UserError where the original's values leave nothing to learn.
        """
        starts = [swap.start for swap in swaps if swap.start is not None]
        if not starts:
            return swapped
        values = self._start_values({label for start in starts for label in start.reads})
        learned: Parameters = {}
        for start in starts:
            learned |= start.learn(*(values[label] for label in start.reads))
        return with_constants(swapped, learned)

    def tune_blocks(self, swapped: Program, swaps: Sequence[Swap], options: TuneOptions) -> Outcome:
        """Match each block to the original's on the original's inputs."""
        blocks, originals = Blocks(swapped, swaps), self._originals(swaps)
        names = {name for swap in swaps for name in swap.parameters}
        return self._loop("blocks", {name: swapped.constants[name] for name in names}).run(
            self.training,
            lambda parameters, batch: blocks.loss(parameters, originals(batch)),
            lambda parameters: mean(blocks.errors(parameters, map(originals, self.checked)).values()),
            options,
            self.on_progress,
        )

    def tune_model(
        self, swapped: Program, swaps: Sequence[Swap], options: TuneOptions, stage: str = "model"
    ) -> Outcome:
        """Match the model's outputs to the original's."""
        originals = self._originals(swaps)
        model = Model(swapped, swaps, self.original.constants, options)
        outcome = self._loop(stage, model.parameters, model.fading).run(
            self.training,
            lambda parameters, batch: model.loss(parameters, batch, self._answer(batch), originals),
            lambda parameters: math.sqrt(
                mean(float(model.error(parameters, batch, self._answer(batch))) for batch in self.checked)
            ),
            replace(options, rate=options.rate * options.model_part),
            self.on_progress,
        )
        return replace(outcome, parameters=model.merged(outcome.parameters))

    def block_errors(self, swapped: Program, swaps: Sequence[Swap]) -> dict[str, float]:
        """Return the held-out relative error of each block on the original's inputs."""
        return Blocks(swapped, swaps).errors({}, map(self._originals(swaps), self.held_out))

    def output_error(self, swapped: Program) -> float:
        """Return the held-out relative error of the model's outputs."""
        return self._error(with_logits(swapped), self.held_out)

    def _loop(self, stage: str, parameters: Parameters, schedule: Callable[[float], bool] = lambda spent: True) -> Loop:
        ordered = dict(sorted(parameters.items()))
        old = self.options.old_part
        return Loop(stage, ordered, {name: old for name in ordered if name in self.original.constants}, schedule)

    def _originals(self, swaps: Sequence[Swap]) -> Originals:
        """Return the original's values at the blocks; those kept for more swaps serve fewer as well."""
        wanted = labels(swaps)
        if self._values is None or not wanted <= self._values.wanted:
            self._values = Originals(self.original, wanted)
        return self._values

    def _start_values(self, wanted: Collection[str]) -> Values:
        """Return the original's values of the first samples that have the first one's shapes."""
        originals, batches, count = Originals(self.original, wanted, limit=0), [], 0
        shapes = _shapes(self.training[0])
        for batch in self.training:
            if count < _START_SAMPLES and _shapes(batch) == shapes:
                batches.append(originals(batch))
                count += len(next(iter(batch.values.values())))
        return {label: torch.cat([batch[label] for batch in batches])[:_START_SAMPLES] for label in wanted}

    def _error(self, scored: Program, batches: Sequence[Batch]) -> float:
        with torch.no_grad():
            return math.sqrt(mean(float(distance(self._answer(b), scored.evaluate(b.values))) for b in batches))

    def _answer(self, batch: Batch) -> Values:
        """Return the original's outputs, computed once."""
        if batch not in self._answers:
            with torch.no_grad():
                self._answers[batch] = self._scored.evaluate(batch.values)
        return self._answers[batch]


def _shapes(batch: Batch) -> list[torch.Size]:
    """Return the shapes of a batch's samples."""
    return [value.shape[1:] for value in batch.values.values()]
