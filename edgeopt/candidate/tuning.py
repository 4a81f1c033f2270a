"""The pass that ends a recipe: it tunes what those before it swapped, and gives back what hurts until the limits hold.

What is judged is the program, in float, on samples that were held out of tuning: quantization, which comes after, is
judged by itself. Where a limit is missed, each swap is tried alone as stage 1 left it; then swaps return, worst first,
as many as the gate finds necessary, each attempt tuned for its share of the budget.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

from edgeopt.candidate.conditions import Conditions
from edgeopt.candidate.gate import Held, answers, hold
from edgeopt.candidate.limits import answers_hold
from edgeopt.candidate.stages import measured
from edgeopt.candidate.swapping import Swapped, Swapping
from edgeopt.distill.distil import Distillation, Tuned
from edgeopt.distill.loop import Outcome, TuneOptions
from edgeopt.distill.model import with_constants
from edgeopt.ir.context import Context
from edgeopt.ir.pass_base import Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.recipes.options import TuningSamples
from edgeopt.recipes.recipe import Recipe
from edgeopt.records.swaps import SwapAttempt, SwappedLayer, Swaps, TunedStage

_GATE_SHARE = 0.4
"""Part of the budget that is kept for attempts of the gate, where a limit is stated."""


@dataclass(frozen=True)
class TunedResult(PassResult):
    """The tuned program, and the record of all that the recipe did."""

    record: Swaps = field(kw_only=True)


@dataclass(frozen=True)
class Tune(Pass):
    """Tune ``swapped``, which ``swapping`` made of the original, as the recipe says."""

    name = "tune"
    kind = "trained"

    recipe: Recipe
    swapping: Swapping
    swapped: Swapped
    samples: TuningSamples
    conditions: Conditions

    def run(self, program: Program, context: Context) -> TunedResult:
        """Tune a copy of ``program``; where a limit on the answers is missed, without the swaps that hurt most."""
        swaps, recipe = self.swapped.swaps, self.recipe
        if not swaps:
            record = Swaps(recipe.described(), figures=self.swapped.figures)
            return TunedResult(program.clone(), False, record=record)
        options = self.conditions.request.options
        tuning, has_gate = options.swap.tuning(recipe), options.limits.on_answers and not options.strict
        first = replace(tuning, seconds=tuning.seconds * (1 - _GATE_SHARE)) if has_gate else tuning
        distillation = Distillation(
            self.swapping.original, self.samples.training, self.samples.deciding, first, self._tell
        )
        tuned = distillation.run(program, list(swaps.values()), recipe.blocks, recipe.model)
        held, final = Held[_Attempt]((), {}, ()), tuned.program
        if has_gate:
            rest = replace(tuning, seconds=tuning.seconds * _GATE_SHARE)
            giving_back = _GivingBack(self, distillation, tuned, rest)
            held = hold(giving_back.attempt, giving_back.hurts)
            final = next(one.program for one in held.attempts if one.verdict.kept == len(held.kept))
        record = self._record(tuned, held, distillation.output_error(final))
        return TunedResult(final, bool(tuned.stages or held.kept), record=record)

    def _record(self, tuned: Tuned, held: Held[_Attempt], after: float) -> Swaps:
        return Swaps(
            self.recipe.described(),
            (len(self.samples.training), len(self.samples.held_out)),
            tuned.outputs_before,
            after,
            (*_stages(self.recipe, tuned), *(one.stage for one in held.attempts if one.stage is not None)),
            tuple(self._layer(label, tuned, held) for label in self.swapped.swaps),
            tuple(one.verdict for one in held.attempts),
            self.swapped.figures,
        )

    def _layer(self, label: str, tuned: Tuned, held: Held[_Attempt]) -> SwappedLayer:
        before, after = tuned.blocks_before[label], tuned.blocks_after[label]
        return SwappedLayer(label, self.swapped.by[label], before, after, held.hurts.get(label), label in held.kept)

    def _tell(self, stage: str, steps: int, error: float, left: float) -> None:
        self.conditions.on_progress(
            f"tuning the {stage}: step {steps}, held-out error {error:.3f}, {duration(left)} left"
        )


@dataclass(frozen=True)
class _Attempt:
    """A program that was judged, and the stage that tuned it, where one did."""

    program: Program
    verdict: SwapAttempt
    stage: TunedStage | None = None

    @property
    def ok(self) -> bool:
        """Whether the limits hold."""
        return self.verdict.ok


@dataclass(frozen=True)
class _GivingBack:
    """Attempts without some of the swaps; ``options`` are the budget of all of them."""

    tune: Tune
    distillation: Distillation
    tuned: Tuned
    options: TuneOptions

    def attempt(self, kept: Collection[str]) -> _Attempt:
        """Return the original with all swapped but ``kept``, tuned, and whether the limits hold."""
        if not kept:
            return self._judged(0, self.tuned.program)
        swaps = self.tune.swapped.swaps
        self.tune.conditions.on_progress(f"recipe: {len(kept)} of {len(swaps)} swaps given back")
        # The weights of stage 2 made up for all swaps; without many of them stage 1 may be the better start.
        starts = [self._without(kept, program) for program in (self.tuned.program, self.after_blocks)]
        start = min(starts, key=lambda one: self.distillation.output_error(one.program))
        if not start.swaps or not self.tune.recipe.model:
            return self._judged(len(kept), start.program)
        tries = math.ceil(math.log2(len(swaps))) + 1
        share = replace(self.options, seconds=self.options.seconds / tries, steps=max(1, self.options.steps // tries))
        outcome = self.distillation.tune_model(start.program, list(start.swaps.values()), share, f"without-{len(kept)}")
        program = with_constants(start.program, outcome.parameters)
        return self._judged(len(kept), program, _stage(f"without {len(kept)}", outcome))

    def hurts(self) -> dict[str, float]:
        """Return by swap the outputs' signal to noise in dB with it alone, as stage 1 left it."""
        self.tune.conditions.on_progress("recipe: measuring how much each swap hurts")
        return {label: self._alone(label) for label in self.tune.swapped.swaps}

    def _judged(self, kept: int, program: Program, stage: TunedStage | None = None) -> _Attempt:
        tracker, labeled = self.tune.conditions.tracker, self.tune.conditions.labeled
        error, accuracy = answers(program.run, tracker.reference, tracker.samples, labeled)
        ok = answers_hold(self.tune.conditions.request.options.limits, measured(error, accuracy, labeled))
        return _Attempt(program, SwapAttempt(kept, ok, error, accuracy), stage)

    def _without(self, kept: Collection[str], constants_of: Program) -> Swapped:
        return self.tune.swapping.without(kept, constants_of, self.tune.swapped.swaps)

    @cached_property
    def after_blocks(self) -> Program:
        """Return the swapped program as stage 1 left it, with the original's weights outside the swaps."""
        found = self._without((), self.tune.swapping.original)
        program = self.distillation.started(found.program, list(found.swaps.values()))
        were_tuned = self.tune.recipe.blocks and len(self.tuned.stages) == 1 + self.tune.recipe.model
        return with_constants(program, self.tuned.stages[0].parameters) if were_tuned else program

    def _alone(self, label: str) -> float:
        swaps = self.tune.swapped.swaps
        found = self._without(swaps.keys() - {label}, self.tune.swapping.original)
        (swap,) = found.swaps.values()
        alone = with_constants(found.program, {name: self.after_blocks.constants[name] for name in swap.parameters})
        tracker = self.tune.conditions.tracker
        return answers(alone.run, tracker.reference, tracker.samples, None)[0].sqnr_db


def _stages(recipe: Recipe, tuned: Tuned) -> list[TunedStage]:
    names = ["blocks"] * recipe.blocks + ["model"] * recipe.model
    outcomes = tuned.stages
    return [_stage(name, one) for name, one in zip(names[len(names) - len(outcomes) :], outcomes, strict=True)]


def _stage(name: str, outcome: Outcome) -> TunedStage:
    return TunedStage(name, outcome.steps, outcome.before, outcome.after, outcome.ended)


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``40 s``, ``4 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
