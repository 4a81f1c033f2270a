"""fpq-search: linears in four-bit floats whose formats and scales are searched for the least error of each layer.

Before: ``y = linear(x, W, b)``.
After:  ``y = linear(x, dequantize_blocks(codes, scale, 1), b')``, a scale for each output; with activations
        ``y = linear(round_activations(x, scale, format), dequantize_blocks(...), b')``, where layers that read the
        same x read one rounded x. b' - b is the mean of what rounding loses.

Each layer is searched on what it reads in the float program. For activations ``shift-channels`` goes before.

Not when: a layer's weight is computed at run time or shared, or its rows have an odd length.

Sources: S. Liu et al., LLM-FP4: 4-Bit Floating-Point Quantized Transformers, EMNLP 2023, section 3; E. Frantar et al.,
GPTQ, ICLR 2023, for the rounding; Nagel et al., Data-Free Quantization, ICCV 2019, for the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.analysis.layers import Layer, layer_of
from edgeopt.calib.data import CALIBRATION
from edgeopt.calib.moments import Rows
from edgeopt.calib.observe import observe
from edgeopt.ir.context import Context
from edgeopt.ir.nodes import aten
from edgeopt.ir.pass_base import BLOCK_WEIGHTS, Note, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS
from edgeopt.ops.round_activations import ROUND_ACTIVATIONS
from edgeopt.quant.blockwise import Blocks
from edgeopt.quant.float4 import unpack
from edgeopt.quant.fpq import Found, Rounded, search

_RULE = "search-format"
_ROWS = 16
"""At most how many vectors of each sample layers are searched on."""


@dataclass(frozen=True)
class FpqSearch(Pass):
    """Quantize linears by FPQ; with ``activations`` what they read as well.

    Without ``compensate`` weights are rounded to the nearest, as FPQ's authors do.
    """

    name = "fpq-search"
    kind = "calibrated"
    stage = "quantize"
    needs = (CALIBRATION,)
    ensures = frozenset({BLOCK_WEIGHTS})

    activations: bool = False
    compensate: bool = True

    def run(self, program: Program, context: Context) -> PassResult:
        """Quantize a copy of ``program``."""
        program = program.clone()
        sites, notes = _sites(program)
        seen = {value.name: Rows(_ROWS) for value in sites}
        observe(program, context[CALIBRATION], seen)
        for number, (value, layers) in enumerate(sites.items(), 1):
            found = self._search(layers, seen.pop(value.name).values)
            names = ", ".join(layer.node.name for layer in layers)
            gained = (
                f"{found.weight.element.name}, error {found.errors[-1] / found.errors[0]:.2f} of that without search"
            )
            context.on_progress(f"{self.name}: {names} in {gained} ({number} of {len(sites)})")
            notes += _quantize(program, value, layers, found)
        return PassResult(program, bool(sites), tuple(notes))

    def _search(self, layers: Sequence[Layer], x: torch.Tensor) -> Found:
        """Search the layers that read a value as one, whose rows are theirs."""
        weight = torch.cat([layer.weight for layer in layers])
        return search(weight, x, self.activations, compensate=self.compensate)


def _quantize(program: Program, value: fx.Node, layers: Sequence[Layer], found: Found) -> list[Note]:
    codes, element = unpack(found.weight.codes), found.weight.element
    sizes = [len(layer.weight) for layer in layers]
    parts = zip(*(one.split(sizes) for one in (codes, found.weight.scale, found.lost)), strict=True)
    for layer, (rows, scale, lost) in zip(layers, parts, strict=True):
        _store(program, layer, Rounded(element, scale).of_codes(rows), lost)
    notes = [Note(f"store-in-{element.name}", layer.node.name) for layer in layers]
    if found.activation is not None:
        _round(program, value, layers, found.activation)
        notes.append(Note(f"read-in-{found.activation.element.name}", value.name))
    return notes


def _sites(program: Program) -> tuple[dict[fx.Node, list[Layer]], list[Note]]:
    """Return the layers to quantize by the value they read, and why others are not."""
    sites: dict[fx.Node, list[Layer]] = {}
    notes = []
    for node in program.calls:
        if node.target is not aten.linear.default or arguments(node)["weight"].target is DEQUANTIZE_BLOCKS:
            continue
        layer = layer_of(program, node)
        if isinstance(layer, str):
            notes.append(Note(_RULE, node.name, layer))
        elif layer.weight.shape[1] % 2:
            reason = f"its rows have {layer.weight.shape[1]} weights, which do not pair in bytes"
            notes.append(Note(_RULE, node.name, reason))
        else:
            sites.setdefault(layer.input, []).append(layer)
    return sites, notes


def _store(program: Program, layer: Layer, stored: Blocks, lost: torch.Tensor) -> None:
    given = arguments(layer.node)
    stem = given["weight"].name
    parts = {"codes": stored.codes, "scale": stored.scale, "factor": stored.factor}
    constants = [program.add_constant(f"{stem}_{name}", tensor) for name, tensor in parts.items()]
    weight = program.insert(layer.node, DEQUANTIZE_BLOCKS, *constants, stored.element.name)
    bias = lost if layer.bias is None else layer.bias + lost
    layer.node.args = (layer.input, weight, program.add_constant(f"{stem.removesuffix('_weight')}_bias", bias))


def _round(program: Program, value: fx.Node, layers: Sequence[Layer], rounded: Rounded) -> None:
    first = min((layer.node for layer in layers), key=list(program.graph.nodes).index)
    scale = program.add_constant(f"{value.name}_scale", rounded.scale)
    read = program.insert(first, ROUND_ACTIVATIONS, value, scale, rounded.element.name)
    for layer in layers:
        layer.node.replace_input_with(value, read)
