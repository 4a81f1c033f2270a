"""weight-only-quantization: store the weights of linears in four bits, with a scale for each block of a row.

Before: ``y = linear(x, W, b)``.
After:  ``y = linear(x, dequantize_blocks(codes, scale, factor), b)``, codes two a byte.

With calibration data the rounding of each column is made good by the columns after it (GPTQ); without, each block's
scale is searched for the least squared error of its weights. Activations stay as they are, unless they are asked for:
then they are rounded to the same format before each layer, for hardware that multiplies four bits by four.

Not when: a layer's weight is computed at run time or shared, or its rows do not divide into blocks.

Sources: E. Frantar et al., GPTQ, ICLR 2023; the formats' are named in edgeopt.quant.float4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.analysis.layers import layer_of
from edgeopt.calib.calibrate import calibrate
from edgeopt.calib.data import CALIBRATION, CalibrationData
from edgeopt.calib.moments import Patches, observe_patches
from edgeopt.errors import UserError
from edgeopt.ir.context import Context
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import BLOCK_WEIGHTS, Note
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ir.selective import FITS, FittedResult, SelectivePass
from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS
from edgeopt.ops.round_activations import ROUND_ACTIVATIONS
from edgeopt.quant.blockwise import FORMATS, Blocks
from edgeopt.quant.gptq import compensated

_RULE = "store-in-four-bits"

Rounded = Mapping[str, tuple[torch.Tensor, Blocks]]
"""By node its weight, and what that is rounded to: what the pass fits."""


@dataclass(frozen=True)
class WeightOnlyQuantization(SelectivePass):
    """Store weights in ``format``, the name of one of edgeopt.quant.blockwise.

    With ``activations`` what the layers read is rounded too, which takes data.
    """

    name = "weight-only-quantization"
    kind = "calibrated"
    stage = "quantize"
    uses = (CALIBRATION, FITS)
    ensures = frozenset({BLOCK_WEIGHTS})

    format: str = "nvfp4"
    activations: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UserError(f"unknown format '{self.format}'", f"choose one of: {', '.join(FORMATS)}")

    def run(self, program: Program, context: Context) -> FittedResult:
        """Store the weights of a copy of ``program``.

        Raises UserError where activations are to be rounded without data.
        """
        data = context.get(CALIBRATION)
        if self.activations and data is None:
            raise UserError("activations in four bits need calibration data", CALIBRATION.remedy)
        program = program.clone()
        linears = [n for n in program.calls if n.target is aten.linear.default and n.name not in self.keep]
        linears = [node for node in linears if not _is_stored(node)]
        known: Rounded = self.fitted(context) or {}
        fresh = [node for node in linears if not _is_known(program, node, known)]
        seen = _observe(program, fresh, data)
        refused, rounded = self._round(program, fresh, seen)
        rounded = {**known, **rounded}
        for node in linears:
            if node.name not in refused:
                _store(program, node, rounded[node.name][1])
        if self.activations:
            self._round_inputs(program, [node for node in linears if _is_stored(node) and node.name in seen], seen)
        notes = tuple(Note(_RULE, node.name, refused.get(node.name)) for node in linears)
        return FittedResult(program, len(refused) < len(linears), notes, rounded)

    def _round(
        self, program: Program, linears: list[fx.Node], seen: Mapping[str, Patches]
    ) -> tuple[dict[str, str], Rounded]:
        """Return by node why a weight is not rounded, or what it was and what it is rounded to."""
        refused: dict[str, str] = {}
        rounded: dict[str, tuple[torch.Tensor, Blocks]] = {}
        for node in linears:
            layer = layer_of(program, node)
            if isinstance(layer, str):
                refused[node.name] = layer
                continue
            try:
                weight = program.constants[arguments(node)["weight"].name]
                rounded[node.name] = weight, self.rounded(layer.weight, seen.get(node.name))
            except UserError as error:
                refused[node.name] = error.message
        return refused, rounded

    def rounded(self, weight: torch.Tensor, seen: Patches | None) -> Blocks:
        """Return a weight in the format, compensated on what its layer reads where that was seen.

        Raises UserError where it does not divide into blocks.
        """
        chosen = FORMATS[self.format]
        if seen is not None and (second := seen.second) is not None:
            return compensated(weight, second[0], chosen)
        factor = chosen.factor(weight)
        scale = chosen.search(chosen.blocks(weight), torch.ones(()), factor)
        return Blocks.rounded(weight, chosen, scale, factor)

    def _round_inputs(self, program: Program, linears: list[fx.Node], seen: Mapping[str, Patches]) -> None:
        for node in linears:
            source = arguments(node)["input"]
            largest = torch.tensor(seen[node.name].largest)
            factor = program.add_constant(f"{node.name}_factor", FORMATS[self.format].factor(largest))
            rounded = program.insert(node, ROUND_ACTIVATIONS, source, factor, self.format)
            node.replace_input_with(source, rounded)


def _store(program: Program, node: fx.Node, stored: Blocks) -> None:
    """Let a layer read its weight from blocks."""
    old = arguments(node)["weight"]
    is_power = stored.scale.dtype is torch.float8_e8m0fnu
    scale = stored.scale.view(torch.uint8) if is_power else stored.scale
    parts = {"codes": stored.codes, "scale": scale, "factor": stored.factor}
    constants = [program.add_constant(f"{old.name}_{name}", tensor) for name, tensor in parts.items()]
    node.replace_input_with(old, program.insert(node, DEQUANTIZE_BLOCKS, *constants, stored.element.name))


def _is_known(program: Program, node: fx.Node, known: Rounded) -> bool:
    """Whether an earlier run rounded this very weight."""
    return node.name in known and program.constant(arguments(node)["weight"]) is known[node.name][0]


def _observe(program: Program, linears: list[fx.Node], data: CalibrationData | None) -> Mapping[str, Patches]:
    """Return what the linears read of the data; nothing where there is none."""
    if data is None or not linears:
        return {}
    ranged = program.clone()
    ranged.ranges = calibrate(program, data, "minmax").program_ranges()
    return observe_patches(ranged, data, linears)


def _is_stored(node: fx.Node) -> bool:
    weight = arguments(node)["weight"]
    return weight.target is DEQUANTIZE_BLOCKS
