"""What the three TensorRT targets share: options, passes, the model in its number formats, and how it is compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from edgeopt import onnx
from edgeopt.errors import Placement, UserError
from edgeopt.ir.pass_base import Step
from edgeopt.ir.program import Program, op_name
from edgeopt.ir.rewrite import arguments
from edgeopt.ir.wider_floats import in_float32
from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS
from edgeopt.options import option
from edgeopt.passes.exact.expand_attention import ExpandAttention
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.passes.quantization.stored import stored_steps
from edgeopt.plugins.target import Arrays, Lowered, Session, Target, TargetOptions
from edgeopt.quant.float4 import E2M1
from edgeopt.quant.scheme import MOVES, PRODUCTS, SUMS, WEIGHTED, Scheme
from edgeopt.records.layers import Fallback
from edgeopt.records.run import Run
from edgeopt.targets.tensorrt import fp8, precision, trtexec
from edgeopt.targets.tensorrt.emulation import StandIn
from edgeopt.targets.tensorrt.extremes import Extremes, observe
from edgeopt.targets.tensorrt.graph import Variants, lower_opset, translate
from edgeopt.targets.tensorrt.half import to_half
from edgeopt.targets.tensorrt.profiles import Profile, profiles

if TYPE_CHECKING:
    import onnx_ir as ir

MODEL = "model.onnx"

SCHEME = Scheme(
    torch.int8,
    WEIGHTED | PRODUCTS | SUMS,
    integer_bias=False,
    integer_results=False,
    moves=MOVES - {torch.ops.aten.pad.default},
    symmetric=True,
)
"""What TensorRT runs on integers: zero points are 0, biases are floats, results are quantized where read.

A pair above a padding would hide from it that the convolution below computes on integers.
"""

FOUR_BITS = ("int4", "nvfp4")
"""Formats of weights that TensorRT reads: see edgeopt.quant.blockwise."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class TensorRtOptions(TargetOptions):
    """Options of TensorRT."""

    precision: str = option("fp16", "Arithmetic asked for, and run (see edgeopt explain TARGET).")
    float_precision: str = option("fp16", "The arithmetic of what is not quantized: fp16 or fp32.")
    profile: str = option(
        "", "Sizes of dynamic inputs: NAME:LEAST:USUAL:LARGEST, each such as 1x3x32x32; inputs separated by commas."
    )


@dataclass(frozen=True)
class Model:
    """One variant, ready to be written."""

    onnx: ir.Model
    opset: int
    layers: list[dict[str, str]]
    kept: tuple[Fallback, ...]
    notes: tuple[str, ...]

    def save(self, path: Path) -> tuple[str, ...]:
        """Write and check it; return the names of its files."""
        return onnx.save(self.onnx, path)


@dataclass(frozen=True)
class Translated(Lowered):
    """A program's variants, None where a node cannot be placed, and what was observed of each, None where nothing was.

    For FP16 the masks in the variants are bounded.
    """

    variants: Variants | None = None
    bodies: Extremes | None = None
    plugins: Extremes | None = None


class TensorRtFamily(Target[Translated]):
    """ONNX in the precision asked for, range-checked on samples, compared in ONNX Runtime without a GPU."""

    Options = TensorRtOptions
    precisions = ("fp32", "fp16", "int8", *FOUR_BITS, "fp8")
    golden_bounds: ClassVar = {"fp32": 1e-3, "fp16": 2e-2, "int8": 5e-2, "int4": 5e-2, "fp8": 5e-2, "nvfp4": 5e-2}
    has_plain_export = False
    libraries = ("tensorrt", "tensorrt_rtx")

    @classmethod
    def measured_elsewhere(cls, run: Run, files: Sequence[Path]) -> Run:
        """Return the record with what trtexec exported on the device."""
        return trtexec.merged(run, trtexec.read(files))

    @staticmethod
    def packages() -> dict[str, str]:
        """Return versions of what writes and compares the ONNX; raises PackageNotFoundError."""
        return {package: version(package) for package in _PACKAGES}

    def pipeline(self, options: TargetOptions) -> Sequence[Step]:
        """Return the exact passes, and for int8 and four bits the one that quantizes."""
        if options.precision in FOUR_BITS:
            return (*PACKED, *stored_steps(options.precision))
        if options.precision != "int8":
            return PACKED
        return (
            Step(ExpandAttention, "first, so that its scale is folded like any other factor"),
            *PACKED,
            Step(partial(InsertQdq, SCHEME), "last, on what is left to compute"),
        )

    def lower(self, program: Program, options: TargetOptions) -> Translated:
        """Translate to ONNX; refuse nodes that have neither a body nor a plug-in, and FP4 that the device lacks."""
        program, notes = in_float32(program, (torch.bfloat16, torch.float16))
        if placements := (*_in_float64(program), *self._unplaced(program, options)):
            return Translated(program, placements)
        variants = translate(program)
        variants = replace(variants, notes=(*variants.notes, *notes))
        if self.float_type(options) == "fp16":
            variants.bound_masks()
        return Translated(program, variants=variants)

    def observe(self, lowered: Translated, samples: Iterable[Arrays], options: TargetOptions) -> Translated:
        """Find the largest magnitude of every value, which decides what may compute in FP16 and FP8."""
        if self.float_type(options) == "fp32" and options.precision != "fp8":
            return lowered
        variants = lowered.variants
        assert variants is not None
        plugins = observe(variants.plugins, samples, options.threads) if variants.plugins is not None else None
        return replace(lowered, bodies=observe(variants.bodies, samples, options.threads), plugins=plugins)

    def models(self, lowered: Translated, options: TargetOptions) -> tuple[Model, Model | None]:
        """Return the model with bodies only, and the one with plug-in nodes where the program has such operators."""
        variants = lowered.variants
        assert variants is not None
        bodies = self._model(variants.bodies, variants, lowered.bodies, options)
        if variants.plugins is None:
            return bodies, None
        return bodies, self._model(variants.plugins, variants, lowered.plugins, options)

    def profiles(self, program: Program, options: TargetOptions) -> tuple[Profile, ...]:
        """Return the sizes of dynamic inputs; raises UserError where they are not known."""
        assert isinstance(options, TensorRtOptions)
        return profiles(program, options.profile)

    def open(self, folder: Path, options: TargetOptions) -> Session:
        """Load the model with bodies into what computes it here."""
        return StandIn(folder / MODEL, options.threads)

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where an option's value is not legal here."""
        super().check_options(options)
        assert isinstance(options, TensorRtOptions)
        if options.float_precision not in ("fp16", "fp32"):
            raise UserError(f"float-precision is '{options.float_precision}'", "choose fp16 or fp32")

    @staticmethod
    def float_type(options: TargetOptions) -> str:
        """Return the arithmetic of what is not quantized."""
        assert isinstance(options, TensorRtOptions)
        return options.precision if options.precision in ("fp32", "fp16") else options.float_precision

    def _has(self, precision: str, options: TargetOptions) -> bool:
        try:
            self.check_options(replace(options, precision=precision))
        except UserError:
            return False
        return True

    def _unplaced(self, program: Program, options: TargetOptions) -> tuple[Placement, ...]:
        found = onnx.untranslatable(program)
        placements = [replace(p, reason="it has neither a body in standard operators nor a plug-in") for p in found]
        stored = [n for n in program.calls if n.target is DEQUANTIZE_BLOCKS and arguments(n)["element"] == E2M1.name]
        if stored and not self._has("nvfp4", options):
            reason = f"its weight is in FP4, which '{self.device.name}' lacks: store it in int4"
            placements += [Placement(node.name, op_name(node), reason) for node in stored]
        return tuple(placements)

    def _model(self, variant: ir.Model, variants: Variants, seen: Extremes | None, options: TargetOptions) -> Model:
        model = variant.clone()
        notes: tuple[str, ...] = variants.notes
        kept: tuple[Fallback, ...] = ()
        refused = fp8.store(model, seen or {}) if options.precision == "fp8" else ()
        if self.float_type(options) == "fp16":
            masks = variants.bounded
            notes += tuple(f"rescaled for FP16: constant {name} was minus infinity, now -32768" for name in masks)
            notes += _checked(variant, seen)
            kept = to_half(model, seen or {})
        opset = lower_opset(model)
        return Model(model, opset, precision.layers(model), (*refused, *kept), notes)


def _in_float64(program: Program) -> tuple[Placement, ...]:
    """Return the first node whose result is in float64."""
    reason = "TensorRT does not compute in float64"
    found = (node for node in program.calls if getattr(node.meta["val"], "dtype", None) == torch.float64)
    return tuple(Placement(node.name, op_name(node), reason) for node in islice(found, 1))


def _checked(model: ir.Model, seen: Extremes | None) -> tuple[str, ...]:
    """Return in words up to which inputs it was checked that values stay within FP16's range."""
    if seen is None:
        return ("FP16's range was not checked: no values were observed",)
    inputs = [str(value.name) for value in model.graph.inputs]
    largest = ", ".join(f"'{name}' up to {seen[name]:.3g}" for name in inputs if name in seen)
    return (f"FP16's range was checked for {largest}: if larger ones come, give some with --calib",) if largest else ()
