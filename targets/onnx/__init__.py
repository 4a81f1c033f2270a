"""Portable ONNX: ``model.onnx`` for whatever reads it, run here by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from edgeopt import onnx
from edgeopt.analysis.saturation import deployment
from edgeopt.errors import NotRunHere, Unsupported, UserError
from edgeopt.ir.pass_base import Step
from edgeopt.ir.program import Program
from edgeopt.ir.wider_floats import in_float32
from edgeopt.onnx.session import OPTIMIZATION, OnnxSession
from edgeopt.ops.dequantize_blocks_onnx import native
from edgeopt.options import option
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.quantization.fuse_token_linears import FuseTokenLinears
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.passes.quantization.stored import stored_steps
from edgeopt.passes.quantization.unpack_blocks import UnpackBlocks
from edgeopt.passes.quantization.unsigned_weights import UnsignedWeights
from edgeopt.plugins.target import AUTO, Artifact, Lowered, Probe, Session, Target, TargetOptions
from edgeopt.quant.blockwise import FORMATS
from edgeopt.quant.scheme import (
    CONCATENATIONS,
    NORMS,
    POOLS,
    PRODUCTS,
    SCALED_ATTENTION,
    SOFTMAXES,
    SUMS,
    WEIGHTED,
    Scheme,
    check_activations,
)
from edgeopt.targets.onnx.integers import rewritten

FILE = "model.onnx"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


SCHEME = Scheme(
    torch.uint8,
    WEIGHTED | SUMS | POOLS | CONCATENATIONS,
    float_results=frozenset({torch.ops.aten.linear.default}) | SUMS | POOLS,
    in_float={
        **dict.fromkeys((*PRODUCTS, *SCALED_ATTENTION), "attention stays in float for its accuracy"),
        **dict.fromkeys((*SOFTMAXES, *NORMS), "ONNX has no such operator on integers"),
    },
)
"""What ONNX Runtime has integer operators for: it takes them by the pairs on all sides. On x86 it computes on uint8.

A product may leave floats, and does where a residual and a norm follow, whose outliers eight bits do not hold.
"""

FOUR_BITS = ("native", "int8")

_UNSIGNED = Step(UnsignedWeights, "last: recoveries round symmetric int8, and programs may come with such weights")


def _four_bits(options: OnnxOptions) -> tuple[Step, ...]:
    """Return the passes that store weights in four bits."""
    stored = (*PACKED, *stored_steps(options.precision))
    wide = Step(UnpackBlocks, "last: ONNX Runtime runs no FP4, but int8")
    return stored if options.four_bits == "native" else (*stored, wide)


@dataclass(frozen=True)
class OnnxOptions(TargetOptions):
    """Options of ONNX Runtime."""

    optimization: str = option(
        "all", "What ONNX Runtime may rewrite when it loads the model: none, basic, extended or all."
    )
    four_bits: str = option(
        "native",
        "How weights in four bits are written: as ONNX's own types ('native'), or as grouped 'int8', which ONNX "
        "Runtime runs where it does not run FP4.",
    )
    activations: str = option(
        "tensor",
        "Scales of what int8 linears read: one calibrated for the 'tensor', or one for each 'token', found as the "
        "model runs.",
    )


@dataclass(frozen=True, kw_only=True)
class Translated(Lowered):
    """A program with its translation; None where nodes have none. ``notes``: which of its types became float32."""

    translation: onnx.Translation | None
    notes: tuple[str, ...]


class Onnx(Target[Translated]):
    """One ONNX file with standard operators and, for operators of ours, their bodies as functions."""

    name = "onnx"
    Options = OnnxOptions
    precisions = ("fp32", "int8", *FORMATS, AUTO)
    mixes = ("fp32", "int8", "int4", "binary")

    @classmethod
    def probe(cls) -> Probe:
        """Look for the exporter's and the runtime's packages."""
        try:
            return Probe(True, {package: version(package) for package in _PACKAGES})
        except PackageNotFoundError:
            return Probe(False, install=onnx.INSTALL)

    def pipeline(self, options: TargetOptions) -> Sequence[Step]:
        """Return the exact passes, and for int8 and four bits the one that quantizes."""
        assert isinstance(options, OnnxOptions)
        if options.precision in FORMATS:
            return (*_four_bits(options), _UNSIGNED)
        if options.precision not in ("int8", AUTO):
            return (*PACKED, _UNSIGNED)
        scheme = replace(SCHEME, per_token=options.activations == "token")
        return (
            *PACKED,
            Step(partial(InsertQdq, scheme), "on what is left to compute"),
            _UNSIGNED,
        )

    def lower(self, program: Program, options: TargetOptions) -> Translated:
        """Translate the program, or find the nodes that ONNX has no translation of."""
        wide, notes = in_float32(program, (torch.bfloat16,))
        try:
            translation = onnx.translate(FuseTokenLinears()(rewritten(wide)).program)
        except Unsupported as error:
            return Translated(wide, error.placements, translation=None, notes=notes)
        return Translated(wide, translation=translation, notes=notes)

    def write(self, lowered: Translated, folder: Path, options: TargetOptions) -> Artifact:
        """Write ``model.onnx``, and large weights as ``model.onnx.data``."""
        program, translation = lowered.program, lowered.translation
        assert translation is not None  # it is where everything is placed
        native(translation.model)
        files = onnx.save(translation.model, folder / FILE)
        weights = sum(tensor.nbytes for tensor in program.constants.values())
        notes = (*translation.notes, *lowered.notes)
        return Artifact(
            files, program.inputs, program.outputs, {"weights": weights}, notes=notes, facts=deployment(program)
        )

    def open(self, folder: Path, options: TargetOptions) -> Session:
        """Load ``model.onnx`` into ONNX Runtime.

        Raises ToolchainMissing without onnxruntime, and NotRunHere for FP4, which it does not run.
        """
        assert isinstance(options, OnnxOptions)
        if options.four_bits == "native" and options.precision in FORMATS and FORMATS[options.precision].is_float:
            raise NotRunHere("ONNX Runtime has no kernel for FP4", "export with --four-bits int8 to run it here")
        return OnnxSession(folder / FILE, options.threads, options.optimization)

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where an option's value is not legal here."""
        super().check_options(options)
        assert isinstance(options, OnnxOptions)
        if options.optimization not in OPTIMIZATION:
            raise UserError(f"optimization is '{options.optimization}'", f"choose one of: {', '.join(OPTIMIZATION)}")
        if options.four_bits not in FOUR_BITS:
            raise UserError(f"four-bits is '{options.four_bits}'", f"choose one of: {', '.join(FOUR_BITS)}")
        check_activations(options.activations)
