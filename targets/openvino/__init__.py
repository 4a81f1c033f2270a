"""OpenVINO on the CPU: ``model.xml`` and ``model.bin``, run in the precision that was asked for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from edgeopt.analysis.saturation import ONLY_VNNI, deployment
from edgeopt.errors import UserError
from edgeopt.ir.pass_base import Step
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import replace as replace_node
from edgeopt.ops.token_linear import ROUND_TOKENS
from edgeopt.options import option
from edgeopt.passes.exact.expand_attention import ExpandAttention
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.quantization.float_weights import FloatWeights
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.passes.quantization.stored import stored_steps
from edgeopt.passes.quantization.unpack_blocks import UnpackBlocks
from edgeopt.plugins.target import AUTO, FLOATS, Artifact, Lowered, Probe, Session, Target, TargetOptions
from edgeopt.quant.blockwise import FORMATS
from edgeopt.quant.scheme import (
    CONCATENATIONS,
    NORMS,
    POOLS,
    PRODUCTS,
    SOFTMAXES,
    SUMS,
    WEIGHTED,
    Scheme,
    check_activations,
)
from edgeopt.records.layers import Fallback, Layer
from edgeopt.targets.openvino import extension
from edgeopt.targets.openvino.build import Conversion, convert, save
from edgeopt.targets.openvino.fitting import Fitted, fitted
from edgeopt.targets.openvino.native import NAME, NONE, Kernels, kernels_of, written_out
from edgeopt.targets.openvino.sdk import INSTALL, cpu_precisions, lacks_vnni
from edgeopt.targets.openvino.session import OpenVinoSession, is_compute

_INTEGERS = ("int8", "uint8")
_EXECUTED = {
    "fp32": ("fp32",),
    "bf16": ("bf16",),
    "int8": _INTEGERS,
    **dict.fromkeys(FORMATS, _INTEGERS),
}
"""What runs where a format is asked for. Layers of signs are not here: their kernels compute as they do."""

FILES = ("model.xml", "model.bin")

_HOW_TO_LOAD = "programs of your own load {} by core.add_extension() before they read model.xml"

_ONLY_VNNI = "only x86 processors with VNNI compute these layers rightly, on others sums of products saturate: {}"

_ONE_KERNEL = "OpenVINO computes attention in one kernel, which is faster in bf16 than two products of integers"

SCHEME = Scheme(
    torch.uint8,
    WEIGHTED | SUMS | POOLS | CONCATENATIONS,
    integer_bias=False,
    integer_results=False,
    in_float={
        **dict.fromkeys((*PRODUCTS, *SOFTMAXES), _ONE_KERNEL),
        **dict.fromkeys(NORMS, "OpenVINO normalizes in float"),
    },
)
"""What OpenVINO's CPU plug-in runs faster on integers; it wants biases in float and requantizes by itself."""

_WIDEN = Step(UnpackBlocks, "last: OpenVINO computes FP4 in float, but groups of int8 in integers")

_APART = Step(FloatWeights, "last: weights that a program came with may saturate, those that are rounded here do not")

_GROUP_OF_WEIGHTS, _GROUP_OF_TOKEN = 32, 64


@dataclass(frozen=True)
class OpenVinoOptions(TargetOptions):
    """Options of OpenVINO."""

    activations: str = option(
        "tensor",
        "Scales of what int8 linears read: one calibrated for the 'tensor', or found as the model runs for each "
        "'token', 64 of its values at a time.",
    )
    float_precision: str = option(
        "", "What is in float beside integers: fp32, bf16, or by default bf16 beside int8 where the CPU has it."
    )
    only_vnni: bool = option(
        False, "Int8 weights take all of their range, which processors without VNNI compute wrongly."
    )


def group_size(options: OpenVinoOptions) -> int:
    """Return how many activations OpenVINO quantizes together as it runs; 0 where it does not."""
    if options.precision == AUTO:
        return _GROUP_OF_WEIGHTS
    if options.precision in FORMATS:
        return min(FORMATS[options.precision].block or _GROUP_OF_WEIGHTS, _GROUP_OF_WEIGHTS)
    return _GROUP_OF_TOKEN if options.precision == "int8" and options.activations == "token" else 0


def float_precision(options: OpenVinoOptions) -> str:
    """Return the arithmetic of float layers: as asked, or that of the precision; bf16 beside int8 where there is."""
    if options.float_precision:
        return options.float_precision
    return "bf16" if options.precision in ("bf16", "int8") and "bf16" in cpu_precisions() else "fp32"


@dataclass(frozen=True, kw_only=True)
class Converted(Lowered):
    """A conversion of the program as it was fitted, and the kernels that it calls."""

    fitted: Fitted
    conversion: Conversion
    kernels: Kernels


class OpenVino(Target[Converted]):
    """A model in OpenVINO's IR, weights as they are: nothing is compressed unless a pass did it."""

    name = NAME
    libraries = ("openvino",)
    Options = OpenVinoOptions
    precisions = ("fp32", "bf16", "int8", *FORMATS, AUTO)
    mixes = ("fp32", "bf16", "int8", *FORMATS, "binary")

    @classmethod
    def probe(cls) -> Probe:
        """Look for OpenVINO and for what brings models to it."""
        try:
            versions = {package: version(package) for package in ("openvino", "onnx", "onnxscript")}
        except PackageNotFoundError:
            return Probe(False, install=INSTALL)
        compiler = extension.compiler_version()
        if compiler is None:
            return Probe(True, versions, install=f"{extension.INSTALL} (for kernels of our own)")
        return Probe(True, {**versions, "C++": compiler})

    def pipeline(self, options: TargetOptions) -> Sequence[Step]:
        """Return the exact passes, and for int8 and four bits those that quantize."""
        assert isinstance(options, OpenVinoOptions)
        apart = () if options.only_vnni else (_APART,)
        if options.precision in FORMATS:
            return (*PACKED, *stored_steps(options.precision), _WIDEN, *apart)
        if options.precision not in ("int8", AUTO):
            return (*PACKED, *apart)
        scheme = replace(SCHEME, per_token=options.activations == "token", paired=not options.only_vnni)
        return (
            Step(ExpandAttention, "first, so that its scale is folded like any other factor"),
            *PACKED,
            Step(partial(InsertQdq, scheme), "last, on what is left to compute"),
            *((_WIDEN,) if options.precision == AUTO else ()),
            *apart,
        )

    def lower(self, program: Program, options: TargetOptions) -> Converted:
        """Convert the program, and find the nodes that OpenVINO takes neither from ONNX nor from torch directly."""
        return _convert(program)

    def write(self, lowered: Converted, folder: Path, options: TargetOptions) -> Artifact:
        """Write ``model.xml`` and ``model.bin``, and beside them the libraries of the kernels that they call."""
        self.check_options(options)
        numbers, conversion = lowered.fitted, lowered.conversion
        program = numbers.program
        assert conversion.model is not None  # it is where everything is placed
        save(conversion.model, program, folder / FILES[0], numbers.integers)
        weights = (folder / FILES[1]).stat().st_size
        libraries = lowered.kernels.libraries
        left = written_out(program)
        notes = (*numbers.notes, *conversion.notes, *([left] if left else []))
        for name, library in libraries.items():
            shutil.copyfile(library, folder / name)
        notes = (*notes, *([_HOW_TO_LOAD.format(" and ".join(libraries))] if libraries else []))
        facts = deployment(program)
        if facts.get("processors") == ONLY_VNNI:
            notes = (*notes, _ONLY_VNNI.format(", ".join(facts["saturating"])))
        if numbers.integers:
            facts = {**facts, "integer_inputs": numbers.integers}
        return Artifact(
            (*FILES, *libraries),
            program.inputs,
            program.outputs,
            {"weights": weights},
            fallbacks=lowered.kernels.fallbacks,
            notes=notes,
            facts=facts,
            reach=numbers.reach,
        )

    def open(self, folder: Path, options: TargetOptions) -> Session:
        """Load the model for the precision and threads asked for.

        Raises UserError where this CPU does not have the precision.
        """
        self.check_options(options)
        assert isinstance(options, OpenVinoOptions)
        return OpenVinoSession(folder / FILES[0], float_precision(options), options.threads, group_size(options))

    def fallbacks(
        self, layers: Sequence[Layer], options: TargetOptions, formats: Mapping[str, str]
    ) -> tuple[Fallback, ...]:
        """Return the layers that compute in another precision than asked, with their share of the time."""
        total = sum(layer.median or 0.0 for layer in layers)
        found = []
        for layer in filter(lambda layer: is_compute(layer.type), layers):
            asked = _asked(layer, options, formats)
            executed = {kind for name in asked for kind in _EXECUTED.get(name, (layer.precision,))}
            if asked and layer.precision not in executed:
                reason = f"OpenVINO runs it in {layer.precision}, {' and '.join(asked)} was asked for"
                share = (layer.median or 0.0) / total if total else None
                found.append(Fallback(layer.name, layer.type, reason, share))
        return tuple(found)

    def mixed_here(self) -> tuple[str, ...]:
        """Return the formats that layers of one program may have on this CPU, which may lack bfloat16."""
        able = cpu_precisions()
        return tuple(name for name in self.mixes if name not in FLOATS or name in able)

    def check_options(self, options: TargetOptions) -> None:
        """Raise UserError where an option is not legal or this CPU lacks the precision."""
        super().check_options(options)
        assert isinstance(options, OpenVinoOptions)
        check_activations(options.activations)
        if options.only_vnni and lacks_vnni():
            raise UserError(
                "this processor has no VNNI: what --only-vnni exports is wrong on it",
                "leave the option out, or export and run on a processor with VNNI",
            )
        able = cpu_precisions()
        if options.float_precision and options.float_precision not in set(FLOATS) & set(able):
            choices = ", ".join(name for name in FLOATS if name in able)
            raise UserError(f"float-precision is '{options.float_precision}'", f"choose one of: {choices}")
        able = (*able, *FORMATS, AUTO) if "int8" in able else able
        if options.precision not in able:
            raise UserError(
                f"this CPU does not compute in {options.precision}",
                f"choose one of: {', '.join(p for p in self.precisions if p in able)}",
            )


def _asked(layer: Layer, options: TargetOptions, formats: Mapping[str, str]) -> tuple[str, ...]:
    """Return the formats asked of what a layer computes; none where a search had no choice."""
    if options.precision != AUTO:
        return (options.precision,)
    return tuple(dict.fromkeys(formats[name] for name in layer.computes if name in formats))


def _convert(original: Program) -> Converted:
    numbers = fitted(_rounded_as_it_runs(original))
    if unplaced := numbers.unplaced:
        return Converted(original, unplaced, fitted=numbers, conversion=Conversion(None, unplaced), kernels=NONE)
    kernels = kernels_of(numbers.program)
    # The weights of what was converted stay mapped to memory after the folder is gone.
    with tempfile.TemporaryDirectory(prefix="edgeopt-", ignore_cleanup_errors=True) as scratch:
        conversion = convert(numbers.program, Path(scratch), kernels)
    failed = {fallback.node: f"; {fallback.reason}" for fallback in kernels.fallbacks}
    unplaced = tuple(replace(one, reason=f"{one.reason}{failed.get(one.node, '')}") for one in conversion.unplaced)
    return Converted(original, unplaced, fitted=numbers, conversion=conversion, kernels=kernels)


def _rounded_as_it_runs(program: Program) -> Program:
    """Return the program without the rounding of tokens: OpenVINO does it beside weights that are stored as int8."""
    found = [node.name for node in program.calls if node.target is ROUND_TOKENS]
    program = program.clone() if found else program
    for name in found:
        node = program.node(name)
        assert node is not None
        (source,) = node.all_input_nodes
        replace_node(node, source)
    return program
