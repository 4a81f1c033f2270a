"""search-floats: linears in four-bit floats whose formats and scales are searched for the least error of each layer.

Before: ``y = linear(x, W, b)``.
After:  ``y = linear(x, dequantize_blocks(codes, scale, 1), b)``, a scale for each output; with activations
        ``y = linear(round_activations(x * 2^d, scale, format), dequantize_blocks(...), b)``, the columns of W
        divided by 2^d, which is exact.

Not when: a layer's weight is computed at run time or shared, or its rows have an odd length.

Source: S. Liu et al., LLM-FP4: 4-Bit Floating-Point Quantized Transformers, EMNLP 2023, section 3.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.calib.data import CalibrationData
from edgeopt.calib.moments import Rows
from edgeopt.calib.observe import observe
from edgeopt.folding.layers import Layer, layer_of
from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS
from edgeopt.ops.round_activations import ROUND_ACTIVATIONS
from edgeopt.pipeline import Kind, Note, PassResult
from edgeopt.program import Program
from edgeopt.quant.fp4 import pack
from edgeopt.quant.fpq import Found, search
from edgeopt.rewrite import arguments

aten = torch.ops.aten

_RULE = "search-format"
_ROWS = 4


class SearchFloats:
    """Quantise linears by FPQ on ``data``; with ``activations`` what they read as well."""

    name = "search-floats"
    kind: Kind = "calibrated"

    def __init__(self, data: CalibrationData, activations: bool = False) -> None:
        self.data, self.activations = data, activations

    def __call__(self, program: Program) -> PassResult:
        """Quantise a copy of ``program``."""
        program = program.clone()
        linears = [
            n
            for n in program.calls
            if n.target is aten.linear.default and arguments(n)["weight"].target is not DEQUANTIZE_BLOCKS
        ]
        seen = {arguments(node)["input"].name: Rows(_ROWS) for node in linears}
        observe(program, self.data, seen)
        notes = [
            Note(_RULE, node.name, self._quantise(program, node, seen[arguments(node)["input"].name]))
            for node in linears
        ]
        return PassResult(program, any(note.reason is None for note in notes), tuple(notes))

    def _quantise(self, program: Program, node: fx.Node, seen: Rows) -> str | None:
        """Quantise one layer, or return the reason not to."""
        layer = layer_of(program, node)
        if not isinstance(layer, Layer):
            return layer
        if layer.weight.shape[1] % 2:
            return f"its rows have {layer.weight.shape[1]} weights, which do not pair in bytes"
        found = search(layer.weight, seen.values, self.activations)
        _store(program, node, layer.weight / torch.exp2(found.shift), found)
        if self.activations:
            _round_input(program, node, found)
        return None


def _store(program: Program, node: fx.Node, weight: torch.Tensor, found: Found) -> None:
    old = arguments(node)["weight"]
    element = found.weight.element
    parts = {
        "codes": pack(element.encode(weight / found.weight.scale)),
        "scale": found.weight.scale,
        "factor": torch.tensor(1.0),
    }
    constants = [program.add_constant(f"{old.name}_{name}", tensor) for name, tensor in parts.items()]
    node.replace_input_with(old, program.insert(node, DEQUANTIZE_BLOCKS, *constants, element.name))


def _round_input(program: Program, node: fx.Node, found: Found) -> None:
    source = arguments(node)["input"]
    shifted = source
    if found.shift.any():
        factor = program.add_constant(f"{node.name}_shift", torch.exp2(found.shift))
        shifted = program.insert(node, aten.mul.Tensor, source, factor)
    assert found.activation is not None
    scale = program.add_constant(f"{node.name}_scale", found.activation.scale)
    rounded = program.insert(node, ROUND_ACTIVATIONS, shifted, scale, found.activation.element.name)
    node.replace_input_with(source, rounded)
