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

from collections.abc import Callable, Mapping

import torch
from torch import fx

from edgeopt.analysis.layers import Layer, layer_of
from edgeopt.calib.calibrate import calibrate
from edgeopt.calib.data import CalibrationData
from edgeopt.calib.informable import Informable
from edgeopt.calib.moments import Patches, observe_patches
from edgeopt.errors import UserError
from edgeopt.ir.pass_base import Kind, Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS
from edgeopt.ops.round_activations import ROUND_ACTIVATIONS
from edgeopt.plugins.registry import pass_class
from edgeopt.quant.blockwise import FORMATS, Blocks
from edgeopt.quant.gptq import compensated

aten = torch.ops.aten

_RULE = "store-in-four-bits"


class WeightOnlyQuantization:
    """Store weights in ``format`` (see edgeopt.quant.blockwise); ``data`` is what errors are compensated on.

    With ``activations`` what the layers read is rounded too, which takes data.
    """

    name = "weight-only-quantization"
    kind: Kind = "calibrated"

    def __init__(self, format: str = "nvfp4", data: CalibrationData | None = None, activations: bool = False) -> None:
        if format not in FORMATS:
            raise UserError(f"unknown format '{format}'", f"choose one of: {', '.join(FORMATS)}")
        self.format, self.data, self.activations = FORMATS[format], data, activations

    def informed(self, data: CalibrationData, on_progress: Callable[[str], None]) -> Pass:
        """Return this pass with data to compensate errors on.

        Weights alone in E2M1 with a scale for each row are searched by FPQ, which finds that format and others.
        """
        if self.format is FORMATS["fp4"] and not self.activations:
            searching = pass_class("fpq-search")()
            assert isinstance(searching, Informable)
            return searching.informed(data, on_progress)
        return WeightOnlyQuantization(self.format.name, data, self.activations)

    def __call__(self, program: Program) -> PassResult:
        """Store the weights of a copy of ``program``.

        Raises UserError where activations are to be rounded without data.
        """
        if self.activations and self.data is None:
            raise UserError("activations in four bits need calibration data", "give samples with --calib")
        program = program.clone()
        linears = [n for n in program.calls if n.target is aten.linear.default and not _is_stored(n)]
        seen = self._observe(program, linears)
        notes = [Note(_RULE, node.name, self._store(program, node, seen)) for node in linears]
        if self.activations:
            self._round_inputs(program, [node for node in linears if _is_stored(node) and node.name in seen], seen)
        return PassResult(program, any(note.reason is None for note in notes), tuple(notes))

    def _observe(self, program: Program, linears: list[fx.Node]) -> Mapping[str, Patches]:
        if self.data is None:
            return {}
        ranged = program.clone()
        ranged.ranges = calibrate(program, self.data, "minmax").program_ranges()
        return observe_patches(ranged, self.data, linears)

    def rounded(self, weight: torch.Tensor, seen: Patches | None) -> Blocks:
        """Return a weight in the format, compensated on what its layer reads where that was seen.

        Raises UserError where it does not divide into blocks.
        """
        if seen is not None and (second := seen.second) is not None:
            return compensated(weight, second[0], self.format)
        factor = self.format.factor(weight)
        scale = self.format.search(self.format.blocks(weight), torch.ones(()), factor)
        return Blocks.rounded(weight, self.format, scale, factor)

    def _store(self, program: Program, node: fx.Node, seen: Mapping[str, Patches]) -> str | None:
        """Store one layer's weight, or return the reason not to."""
        layer = layer_of(program, node)
        if not isinstance(layer, Layer):
            return layer
        try:
            stored = self.rounded(layer.weight, seen.get(node.name))
        except UserError as error:
            return error.message
        old = arguments(node)["weight"]
        is_power = stored.scale.dtype is torch.float8_e8m0fnu
        scale = stored.scale.view(torch.uint8) if is_power else stored.scale
        parts = {"codes": stored.codes, "scale": scale, "factor": stored.factor}
        constants = [program.add_constant(f"{old.name}_{name}", tensor) for name, tensor in parts.items()]
        node.replace_input_with(old, program.insert(node, DEQUANTIZE_BLOCKS, *constants, stored.element.name))
        return None

    def _round_inputs(self, program: Program, linears: list[fx.Node], seen: Mapping[str, Patches]) -> None:
        for node in linears:
            source = arguments(node)["input"]
            largest = torch.tensor(seen[node.name].largest)
            factor = program.add_constant(f"{node.name}_factor", self.format.factor(largest))
            rounded = program.insert(node, ROUND_ACTIVATIONS, source, factor, self.format.name)
            node.replace_input_with(source, rounded)


def _is_stored(node: fx.Node) -> bool:
    weight = arguments(node)["weight"]
    return weight.target is DEQUANTIZE_BLOCKS
