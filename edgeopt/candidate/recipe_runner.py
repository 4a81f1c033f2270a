"""From the original's layers to others by a recipe: swap, tune, and let the worst return until the limits hold.

What is judged is the program, in float, on samples that were held out of tuning: quantization, which comes after, has
a gate of its own. Where a limit is missed, each swap is tried alone as stage 1 left it; then swaps return, worst first,
as many as bisection finds necessary, each attempt tuned for its share of the budget.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, cast

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.candidate.accuracy_gate import fewest
from edgeopt.candidate.limits import answers_hold
from edgeopt.candidate.profitability import Profitability
from edgeopt.candidate.quantize import OnPass
from edgeopt.candidate.records import Labeled, OnProgress, Request, measured
from edgeopt.distill.distil import Distillation, Tuned
from edgeopt.distill.loop import TuneOptions
from edgeopt.distill.model import with_constants
from edgeopt.distill.swap import Swap, Swapper
from edgeopt.ir.pass_base import Kind, Pass, PassRecord, PassResult
from edgeopt.ir.program import Program
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.attention_swap import AttentionSwap
from edgeopt.plugins.registry import pass_class
from edgeopt.recipes.options import TuningSamples
from edgeopt.recipes.recipe import Recipe, RecipeStep
from edgeopt.records.outputs import EQUAL, Error
from edgeopt.records.swaps import SwapAttempt, SwappedLayer, Swaps, TunedStage

_FIT_SAMPLES = 256
_GATE_SHARE = 0.4
"""Part of the budget that is kept for attempts of the gate, where a limit is stated."""


@dataclass(frozen=True)
class Conditions:
    """Where and for whom a recipe runs: the request, the samples, the labeled data, who is told."""

    request: Request
    samples: TuningSamples | None
    labeled: Labeled | None
    tracker: AccuracyTracker
    on_pass: OnPass
    on_progress: OnProgress


def substituted(
    program: Program, recipe: Recipe, conditions: Conditions
) -> tuple[Program, tuple[PassRecord, ...], Swaps]:
    """Run a recipe's passes; tune what they swap and hold it to the limits."""
    work = _Substitution(program, recipe, conditions)
    pipeline = Pipeline([*work.passes, *([work] if recipe.is_trained else [])], conditions.tracker, conditions.on_pass)
    final, records = pipeline.run(program)
    return final, records, work.record()


class _Substitution:
    """The pass that ends a recipe: it tunes what those before it swapped, and gives back what it must."""

    name = "tune"
    kind: Kind = "trained"

    def __init__(self, original: Program, recipe: Recipe, conditions: Conditions) -> None:
        self.original, self.recipe, self.conditions = original, recipe, conditions
        request = conditions.request
        self.profitability = Profitability(request.target, request.target_options)
        self.passes = [self._built(step) for step in recipe.passes if step.name not in request.options.skip_passes]
        self.limits = request.options.limits
        self.tuned: Tuned | None = None
        self.final = original
        self.swaps: dict[str, tuple[str, Swap]] = {}
        self.kept: tuple[str, ...] = ()
        self.alone: dict[str, float] = {}
        self.attempts: list[SwapAttempt] = []
        self.stages: list[TunedStage] = []

    def __call__(self, program: Program) -> PassResult:
        """Tune a copy of ``program``."""
        self.swaps = {swap.original: (p.name, swap) for p in self._swappers() for swap in p.swaps}
        if not self.swaps:
            return PassResult(program.clone(), False)
        samples = cast(TuningSamples, self.conditions.samples)
        options = self.conditions.request.options.swap.tuning(self.recipe)
        has_gate = self.limits.on_answers and not self.conditions.request.options.strict
        first = replace(options, seconds=options.seconds * (1 - _GATE_SHARE)) if has_gate else options
        self.distillation = Distillation(self.original, samples.training, samples.deciding, first, self._tell)
        self.tuned = self.distillation.run(program, self._given(), self.recipe.blocks, self.recipe.model)
        self._note_stages()
        self.final = self.tuned.program
        if has_gate and not self._judge(0, self.final):
            self._give_back(replace(options, seconds=options.seconds * _GATE_SHARE))
        return PassResult(self.final, bool(self.tuned.stages or self.kept))

    # -- swapping --------------------------------------------------------------------------------------

    def _built(self, step: RecipeStep) -> Pass:
        settings: dict[str, Any] = dict(step.settings)
        cls: Any = pass_class(step.name)
        if step.kind == "trained":
            if issubclass(cls, AttentionSwap):
                force = self.recipe.force or self.conditions.request.options.swap.force
                settings = {"force": force, "timer": self.profitability, **settings}
            else:
                samples = cast(TuningSamples, self.conditions.samples)
                settings["samples"] = samples.training[:_FIT_SAMPLES]
        return cls(**settings)

    def _swappers(self) -> list[Swapper]:
        return [cast(Swapper, p) for p in self.passes if p.kind == "trained"]

    def _given(self) -> list[Swap]:
        return [swap for _, swap in self.swaps.values()]

    def _without(self, kept: Collection[str], tuned: Program) -> tuple[Program, list[Swap]]:
        """Return the original with all swapped but ``kept``, over the tuned constants, and what is swapped in it."""
        for swapper in self._swappers():
            swapper.keep = kept
        program, _ = Pipeline(self.passes).run(self.original)
        swaps = [swap for p in self._swappers() for swap in p.swaps]
        if not swaps:
            return program, swaps
        # Weights that were tuned for a swap alone return with it.
        returned = {name for label in kept for name in self.swaps[label][1].parameters}
        shared = {name for swap in swaps for name in swap.parameters}
        names = program.constants.keys() & tuned.constants.keys() - (returned - shared)
        return with_constants(program, {name: tuned.constants[name] for name in names}), swaps

    # -- the gate --------------------------------------------------------------------------------------

    def _judge(self, kept: int, program: Program) -> bool:
        error, labeled = self._error(program), self.conditions.labeled
        accuracy = labeled.accuracy(program.run) if labeled is not None else None
        ok = answers_hold(self.limits, measured(error, accuracy, labeled))
        self.attempts.append(SwapAttempt(kept, ok, error, accuracy))
        return ok

    def _give_back(self, options: TuneOptions) -> None:
        """Return swaps to the original, worst first, until the limits hold."""
        self.conditions.on_progress("recipe: measuring how much each swap hurts")
        blocks = self._after_blocks()
        self.alone = {label: self._sqnr_alone(label, blocks) for label in self.swaps}
        order = sorted(self.alone, key=lambda label: (self.alone[label], label))
        tries = math.ceil(math.log2(len(order))) + 1
        share = replace(options, seconds=options.seconds / tries, steps=max(1, options.steps // tries))
        held: dict[int, Program] = {}

        def holds_without(kept: Collection[str]) -> bool:
            self.conditions.on_progress(f"recipe: {len(kept)} of {len(order)} swaps given back")
            # The weights of stage 2 made up for all swaps; without many of them stage 1 may be the better start.
            starts = [self._without(kept, tuned) for tuned in (cast(Tuned, self.tuned).program, blocks)]
            program, swaps = min(starts, key=lambda start: self.distillation.output_error(start[0]))
            if swaps and self.recipe.model:
                outcome = self.distillation.tune_model(program, swaps, share, f"without-{len(kept)}")
                self.stages.append(
                    TunedStage(f"without {len(kept)}", outcome.steps, outcome.before, outcome.after, outcome.ended)
                )
                program = with_constants(program, outcome.parameters)
            held[len(kept)] = program
            return self._judge(len(kept), program)

        self.kept = fewest(order, holds_without)
        if self.kept:
            self.final = held[len(self.kept)]

    def _after_blocks(self) -> Program:
        """Return the swapped program as stage 1 left it, with the original's weights outside the swaps."""
        program = self.distillation.started(*self._without((), self.original))
        stages = cast(Tuned, self.tuned).stages
        were_tuned = self.recipe.blocks and len(stages) == 1 + self.recipe.model
        return with_constants(program, stages[0].parameters) if were_tuned else program

    def _sqnr_alone(self, label: str, blocks: Program) -> float:
        program, (swap, *_) = self._without(self.swaps.keys() - {label}, self.original)
        alone = with_constants(program, {name: blocks.constants[name] for name in swap.parameters})
        return self._error(alone).sqnr_db

    def _error(self, program: Program) -> Error:
        tracker = self.conditions.tracker
        return tracker.reference.compare(map(program.run, tracker.samples)).worst or EQUAL

    # -- telling ---------------------------------------------------------------------------------------

    def _tell(self, stage: str, steps: int, error: float, left: float) -> None:
        self.conditions.on_progress(
            f"tuning the {stage}: step {steps}, held-out error {error:.3f}, {duration(left)} left"
        )

    def _note_stages(self) -> None:
        names = ["blocks"] * self.recipe.blocks + ["model"] * self.recipe.model
        outcomes = cast(Tuned, self.tuned).stages
        for name, o in zip(names[len(names) - len(outcomes) :], outcomes, strict=True):
            self.stages.append(TunedStage(name, o.steps, o.before, o.after, o.ended))

    def record(self) -> Swaps:
        """Return what was done."""
        figures = tuple(self.profitability.figures.values())
        if self.tuned is None:
            return Swaps(self.recipe.described(), figures=figures)
        samples, tuned = cast(TuningSamples, self.conditions.samples), self.tuned
        return Swaps(
            self.recipe.described(),
            (len(samples.training), len(samples.held_out)),
            tuned.outputs_before,
            self.distillation.output_error(self.final),
            tuple(self.stages),
            tuple(self._layer(label, by) for label, (by, _) in self.swaps.items()),
            tuple(self.attempts),
            figures,
        )

    def _layer(self, label: str, by: str) -> SwappedLayer:
        tuned = cast(Tuned, self.tuned)
        before, after = tuned.blocks_before[label], tuned.blocks_after[label]
        return SwappedLayer(label, by, before, after, self.alone.get(label), label in self.kept)


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``40 s``, ``4 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
