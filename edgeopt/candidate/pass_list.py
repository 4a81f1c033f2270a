"""The passes of an export: the target's and those added, without those skipped, and what they are handed."""

from __future__ import annotations

from dataclasses import MISSING, fields

from edgeopt.calib.data import CALIBRATION, open_data
from edgeopt.candidate.quantize import RECOVERIES
from edgeopt.candidate.stages import OnProgress, Request
from edgeopt.errors import UserError
from edgeopt.ir.context import EMPTY, Context
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program
from edgeopt.passes.order import adding, check_needs, check_requirements, skipping
from edgeopt.plugins.registry import pass_class


def pass_context(original: Program, request: Request, on_progress: OnProgress) -> Context:
    """Return what every pass may be handed: the calibration data, where there is some."""
    options = request.options
    context = Context(on_progress=on_progress)
    if options.quant.calib is None:
        return context
    return context.adding(CALIBRATION, open_data(options.quant.calib, original.inputs, options.load.trust))


def build_passes(request: Request, context: Context = EMPTY) -> list[Pass]:
    """Return the target's passes and the added ones, without the skipped.

    What is added runs at the end of its stage: after the target's passes on floats, or after those on what is
    quantized. Raises UserError where a name is unknown, where what is added lacks something, and where what is skipped
    makes the precision or ensures what another pass requires.
    """
    options = request.options
    steps = [(step, step.build()) for step in request.target.pipeline(request.target_options)]
    passes = [one for step, one in steps if not step.optional or all(need in context for need in one.needs)]
    passes = adding(passes, map(_added, options.add_passes))
    for step in passes:
        if step.stage == "quantize" and step.name in options.skip_passes:
            raise UserError(
                f"pass '{step.name}' makes precision {request.target_options.precision} and cannot be skipped",
                "choose another --precision",
            )
    for name in set(options.skip_passes) - {step.name for step in passes}:
        pass_class(name)  # raises where the name is unknown; a known one that does not run is skipped already
    passes = skipping(passes, options.skip_passes)
    check_requirements(passes)
    # What passes on what is quantized need is found while it is quantized.
    check_needs((step for step in passes if step.stage != "quantized"), context)
    return passes


def _added(name: str) -> Pass:
    cls = pass_class(name)
    if cls.kind == "trained":
        raise UserError(f"pass '{name}' is tuned on data", "it runs in a recipe: see edgeopt explain slab")
    if name in RECOVERIES:
        remedy = f"--precision int8 --calib DATA --recover {name}"
        raise UserError(f"pass '{name}' is a recovery of int8", f"ask for it with {remedy}")
    if cls.stage == "quantize":
        raise UserError(f"pass '{name}' makes a precision", "ask for that with --precision")
    if given := [field.name for field in fields(cls) if field.default is field.default_factory is MISSING]:
        raise UserError(f"pass '{name}' has no default for {' and '.join(given)}", "call it from Python")
    return cls()
