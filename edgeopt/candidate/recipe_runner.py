"""The one runner of recipes: their passes over the program, and tuning what these swapped."""

from __future__ import annotations

from dataclasses import replace

from edgeopt.candidate.conditions import Conditions
from edgeopt.candidate.profitability import TargetTimer
from edgeopt.candidate.stages import Request
from edgeopt.candidate.swapping import Swapping
from edgeopt.candidate.tuning import Tune, TunedResult
from edgeopt.ir.context import SAMPLES, TIMER
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program
from edgeopt.passes.order import skipping
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.attention_swap import AttentionSwap
from edgeopt.recipes.recipe import Recipe
from edgeopt.records.passes import PassRecord
from edgeopt.records.swaps import Swaps

_FIT_SAMPLES = 256


def substituted(
    program: Program, recipe: Recipe, conditions: Conditions
) -> tuple[Program, tuple[PassRecord, ...], Swaps]:
    """Run a recipe's passes; tune what they swap and hold it to the limits."""
    request, samples = conditions.request, conditions.samples
    context = conditions.context.adding(TIMER, TargetTimer(request.target, request.target_options))
    context = context.adding(SAMPLES, samples.training[:_FIT_SAMPLES] if samples is not None else None)
    swapping = Swapping(program, _passes(recipe, request), context)
    found = swapping.run(tracker=conditions.tracker, on_pass=conditions.on_pass)
    record = Swaps(recipe.described(), figures=found.figures)
    if samples is None:
        return found.program, found.records, record
    tune = Tune(recipe, swapping.knowing(found), found, samples, conditions)
    ((result, tuning),) = Pipeline([tune], conditions.tracker, conditions.on_pass).steps(found.program, context)
    record = result.record if isinstance(result, TunedResult) else record
    return result.program, (*found.records, tuning), record


def _passes(recipe: Recipe, request: Request) -> tuple[Pass, ...]:
    passes = skipping([step.built() for step in recipe.passes], request.options.skip_passes)
    if recipe.force or request.options.swap.force:
        passes = [replace(one, force=True) if isinstance(one, AttentionSwap) else one for one in passes]
    return tuple(passes)
