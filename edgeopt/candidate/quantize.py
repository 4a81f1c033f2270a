"""From a float program to one that computes in INT8: calibrate, quantize, recover accuracy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.calib.cache import cache_folder
from edgeopt.calib.calibrate import Calibrate, check_model
from edgeopt.calib.data import CALIBRATION, CalibrationData
from edgeopt.calib.methods import method
from edgeopt.calib.moments import PATCHES, Patches, observe_patches
from edgeopt.calib.ranges import read_ranges
from edgeopt.errors import UserError, nearest
from edgeopt.ir.context import EMPTY, FLOAT_PROGRAM, Context
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program, origin
from edgeopt.ir.provenance import module_path
from edgeopt.ir.rewrite import arguments
from edgeopt.options import described, option
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.adaptive_rounding import AdaptiveRounding
from edgeopt.passes.quantization.bias_correction import BiasCorrection
from edgeopt.passes.quantization.cross_layer_equalization import CrossLayerEqualization
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.passes.quantization.smooth_quant import SmoothQuant
from edgeopt.plugins.target import Target
from edgeopt.quant.scheme import WEIGHTED, Scheme
from edgeopt.records.passes import PassRecord

OnPass = Callable[[PassRecord, Program], None]

RECOVERIES = tuple(cls.name for cls in (CrossLayerEqualization, SmoothQuant, AdaptiveRounding, BiasCorrection))
"""What may be done against the loss of accuracy, in the order in which it is done."""


@dataclass(frozen=True)
class QuantOptions:
    """How a program is quantized.

    ``calib``: calibration data (see edgeopt.calib.data); ``ranges``: a ``ranges.json`` instead of, or beside it.
    ``calib_method``: the estimator of ranges. ``recover``: recoveries to run. ``keep_float``: layers that stay in
    float.
    """

    calib: str | None = option(None, "Calibration data for int8: .npz, folder, or module:function.", metavar="DATA")
    calib_method: str = option("mse", "minmax, moving-average, percentile, entropy, mse (default).", metavar="NAME")
    ranges: str | None = option(None, "Calibrated ranges from edgeopt calibrate.", metavar="JSON")
    recover: tuple[str, ...] = option(
        ("smooth-quant", "adaptive-rounding", "bias-correction"),
        "Recover int8 accuracy by this pass alone; repeatable.",
        metavar="NAME",
    )
    keep_float: tuple[str, ...] = option((), "Layer or module that stays in float; repeatable.", metavar="LAYER")

    def __post_init__(self) -> None:
        method(self.calib_method)
        # What is wrong with ranges is told before the work.
        if self.ranges is not None and not read_ranges(Path(self.ranges)).tensors:
            raise UserError(f"'{self.ranges}' holds no range of any tensor", "write it with edgeopt calibrate")
        for name in self.recover:
            if name not in RECOVERIES:
                raise UserError(f"unknown recovery '{name}'", nearest(name, RECOVERIES))

    def without(self, skipped: Collection[str]) -> QuantOptions:
        """Return the options without the recoveries among ``skipped``."""
        left = tuple(name for name in self.recover if name not in skipped)
        return self if left == self.recover else replace(self, recover=left)

    def given(self, skipped: Collection[str]) -> tuple[str, ...]:
        """Return the options, by flag, that differ from their defaults and that only what quantizes reads.

        Calibration data, which also verifies, is not among them. ``skipped``: recoveries that are left out.
        """
        changed = described(self).keys() - described(QuantOptions().without(skipped)).keys()
        changed -= {"calib"} if self.recover else {"calib", "recover"}
        return tuple(sorted(changed))


@dataclass(frozen=True)
class Calibrated:
    """A float program with ranges, ready to be quantized, and what passes from there on are handed.

    ``finishing``: the passes that follow quantization.
    """

    program: Program
    records: tuple[PassRecord, ...]
    context: Context = EMPTY
    finishing: tuple[Pass, ...] = ()


def calibratable(program: Program, target: Target) -> Program:
    """Return the float program whose ranges ``target`` needs for int8: what its passes before quantization make.

    Raises UserError where the target does not quantize.
    """
    if "int8" not in target.precisions:
        raise UserError(f"target '{target.name}' does not quantize", "choose another --target")
    steps = target.pipeline(replace(target.Options(**target.device.options), precision="int8"))
    return Pipeline(one for step in steps if (one := step.build()).stage == "float").run(program)[0]


def calibrated(
    program: Program,
    scheme: Scheme,
    options: QuantOptions,
    context: Context = EMPTY,
    finishing: Sequence[Pass] = (),
    tracker: AccuracyTracker | None = None,
    on_pass: OnPass | None = None,
) -> Calibrated:
    """Run the recoveries that come before calibration and calibrate on the context's data; or read the ranges.

    ``finishing``: the passes that follow quantization.

    Ranges that were read are of the program as it is: recoveries that would rewrite it are left out.
    Raises UserError where the ranges belong to another program.
    """
    if options.ranges is not None:
        found = read_ranges(Path(options.ranges))
        check_model(found, program, options.ranges)
        program = program.clone()
        program.ranges = found.program_ranges()
        records: tuple[PassRecord, ...] = ()
    else:
        passes = [step for step in _recoveries(scheme, options) if step.stage == "float"]
        calibrate = Calibrate(options.calib_method, cache_folder())
        program, records = Pipeline([*passes, calibrate], tracker, on_pass).run(program, context)
    after = [*_recoveries(scheme, options), *finishing]
    if CALIBRATION in context and any(PATCHES in (*step.needs, *step.uses) for step in after):
        context = context.adding(PATCHES, _observed(program, context[CALIBRATION]) or None)
    return Calibrated(program, records, context, tuple(finishing))


def quantized(
    ready: Calibrated,
    scheme: Scheme,
    options: QuantOptions,
    keep: Collection[str] = (),
    tracker: AccuracyTracker | None = None,
    on_pass: OnPass | None = None,
) -> tuple[Program, tuple[PassRecord, ...]]:
    """Quantize all layers but those in ``keep`` and in the options; run the recoveries and passes that come after."""
    insert = InsertQdq(scheme, keep=frozenset({*keep, *keeps_float(ready.program, options)}))
    context = ready.context.adding(FLOAT_PROGRAM, ready.program)
    after = [step for step in _recoveries(scheme, options) if step.stage == "quantized"]
    able = [step for step in after if all(need in context for need in step.needs)]  # ranges alone are without data
    return Pipeline([insert, *able, *ready.finishing], tracker, on_pass).run(ready.program, context)


def keeps_float(program: Program, options: QuantOptions) -> set[str]:
    """Return the names of the layers that the options keep in float.

    Raises UserError where there is no such layer.
    """
    return {layer for name in options.keep_float for layer in _layers(program, name)}


def _recoveries(scheme: Scheme, options: QuantOptions) -> list[Pass]:
    """Return the recoveries that are asked for, in their order."""
    known = (CrossLayerEqualization(), SmoothQuant(scheme.float_beside), AdaptiveRounding(scheme), BiasCorrection())
    return [step for step in known if step.name in options.recover]


def _observed(program: Program, data: CalibrationData) -> Mapping[str, Patches]:
    """Observe the layers' inputs once for all passes and for every attempt of the gate."""
    weights = {node: program.constant(arguments(node)["weight"]) for node in program.calls if node.target in WEIGHTED}
    return observe_patches(program, data, [node for node, weight in weights.items() if weight is not None])


def _layers(program: Program, name: str) -> set[str]:
    """Return the node that has this name, or that took the place of the original's node of this name; or else what the
    module of this path computes, and those within it."""
    names = {origin(node).rstrip("'"): node.name for node in program.calls}
    names |= {node.name: node.name for node in program.calls}
    if name in names:
        return {names[name]}
    paths = {node: module_path(node) for node in program.calls}
    if found := {node.name for node, path in paths.items() if f"{path}.".startswith(f"{name}.")}:
        return found
    layers = [path for node, path in paths.items() if path and node.target in WEIGHTED]
    raise UserError(f"there is no layer '{name}' to keep in float", nearest(name, [*names, *layers]))
