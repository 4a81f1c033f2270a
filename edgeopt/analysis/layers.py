"""Linear and convolution layers: where channels lie in their weights, and how a scale and shift go into them.

    after the layer:   a * (W x + b) + s  =  (diag(a) W) x + (a * b + s)
    before the layer:  W (a * x + s) + b  =  (W diag(a)) x + (b + W s)

The second holds for a convolution that pads with zeros only where s = 0: the border sums fewer taps than W has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeopt.ir.nodes import Target, aten, node_arg, rank_of
from edgeopt.ir.program import Program, dtype_name, op_name, origin, redefine
from edgeopt.ir.rewrite import arguments, replace
from edgeopt.ops.opsets import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS

_SPATIAL_AXES: dict[Target, int] = {aten.linear.default: 0} | CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS
_EXACT_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Layer:
    """A linear or convolution with constant weight and bias."""

    node: fx.Node
    weight: torch.Tensor
    bias: torch.Tensor | None

    @property
    def input(self) -> fx.Node:
        """The node whose value the layer reads."""
        return node_arg(self.node, 0)

    @property
    def input_axis(self) -> int:
        """Axis of the input's channels."""
        return rank_of(self.input) - _SPATIAL_AXES[self.node.target] - 1

    @property
    def output_axis(self) -> int:
        """Axis of the output's channels."""
        return rank_of(self.node) - _SPATIAL_AXES[self.node.target] - 1

    def apply(self, x: torch.Tensor, weight: torch.Tensor, *settings: Any) -> torch.Tensor:
        """Return what the layer makes of ``x`` with another weight and no bias; ``settings`` follow the bias."""
        assert callable(self.node.target)
        result: torch.Tensor = self.node.target(x, weight, None, *settings)
        return result

    @property
    def weight_input_axis(self) -> int:
        """Axis of the input's channels in the weight; of a group's where there are groups."""
        return 0 if self.node.target in TRANSPOSED_CONVOLUTIONS else 1

    @property
    def sums_all_taps(self) -> bool:
        """Whether each output sums all taps of the weight, so that a shift of the input is one of the output."""
        if self.node.target in TRANSPOSED_CONVOLUTIONS:
            return False
        padding = arguments(self.node).get("padding", 0)
        return not any(padding if isinstance(padding, list | tuple) else [padding])


def layer_of(program: Program, node: fx.Node) -> Layer | str:
    """Return the layer at a node whose weight may be rewritten, or the reason why there is none."""
    if node.target not in _SPATIAL_AXES:
        return f"{describe(node)} is neither a linear nor a convolution"
    given = arguments(node)
    weight, bias = program.constant(given["weight"]), program.constant(given["bias"])
    if weight is None or (bias is None and given["bias"] is not None):
        return f"the weights of {describe(node)} are computed at run time"
    if weight.dtype not in _EXACT_DTYPES:
        return f"the weight of {describe(node)} is {dtype_name(weight.dtype)}, which would round the product"
    if others := [reader.name for reader in program.readers(given["weight"]) if reader is not node]:
        return f"the weight {given['weight'].name} of {describe(node)} is shared with {', '.join(others)}"
    return Layer(node, weight, bias)


def is_layer(node: fx.Node) -> bool:
    """Return whether a node is a linear or convolution, whatever its weight."""
    return node.target in _SPATIAL_AXES


def fold_after(program: Program, layer: Layer, scale: torch.Tensor, shift: torch.Tensor) -> fx.Node:
    """Replace the layer by one whose output is scaled and shifted; each has one element or one per output."""
    taps = taps_of(layer)
    groups, outputs, *_ = taps.shape
    bias = (_bias(layer) * scale + shift).expand(groups * outputs)
    taps *= scale.expand(groups * outputs).reshape(groups, outputs, 1, 1)
    return _rebuild(program, layer, taps, bias)


def fold_before(program: Program, layer: Layer, scale: torch.Tensor, shift: torch.Tensor) -> fx.Node:
    """Replace the layer by one whose input is scaled and shifted first; each has one element or one per input."""
    taps = taps_of(layer)
    groups, _, inputs, count = taps.shape
    offset = shift.expand(groups * inputs).repeat_interleave(count).reshape(groups, inputs * count, 1)
    bias = _bias(layer) + (taps.flatten(2) @ offset).flatten()
    taps *= scale.expand(groups * inputs).reshape(groups, 1, inputs, 1)
    return _rebuild(program, layer, taps, bias)


def output_magnitudes(layer: Layer) -> torch.Tensor:
    """Return the largest absolute weight of each output channel."""
    return taps_of(layer).abs().amax((2, 3)).flatten()


def input_magnitudes(layer: Layer) -> torch.Tensor:
    """Return the largest absolute weight that each input channel meets."""
    return taps_of(layer).abs().amax((1, 3)).flatten()


def describe(node: fx.Node) -> str:
    """Return a node as reasons name it: ``conv2d_1 (aten.conv2d)``."""
    return f"{node.name} ({op_name(node)})" if node.op == "call_function" else node.name


def _rebuild(program: Program, layer: Layer, taps: torch.Tensor, bias: torch.Tensor) -> fx.Node:
    old = arguments(layer.node)
    stored = _transposed(layer.node, taps).reshape(layer.weight.shape).to(layer.weight.dtype)
    weight = program.add_constant(old["weight"].name, stored)
    new_bias = None
    if layer.bias is not None or bias.any():
        stem = old["weight"].name.removesuffix("_weight")
        name = f"{stem}_bias" if layer.bias is None else old["bias"].name
        new_bias = program.add_constant(name, bias.to(layer.weight.dtype).contiguous())
    rest = [value for name, value in old.items() if name not in ("input", "weight", "bias")]
    node = program.insert(layer.node, layer.node.target, layer.input, weight, new_bias, *rest)
    node.meta["origin"] = origin(layer.node)
    redefine(node)
    replace(layer.node, node)
    return node


def taps_of(layer: Layer) -> torch.Tensor:
    """Return a copy of the weight in float64, alike for all kinds: (groups, outputs, inputs of a group, taps)."""
    groups = arguments(layer.node).get("groups", 1)
    first, second = layer.weight.shape[:2]
    wide = layer.weight.to(torch.float64, copy=True)
    return _transposed(layer.node, wide.reshape(groups, first // groups, second, -1))


def _transposed(node: fx.Node, taps: torch.Tensor) -> torch.Tensor:
    """Swap inputs and outputs where a transposed convolution keeps them the other way round."""
    return taps.transpose(1, 2) if node.target in TRANSPOSED_CONVOLUTIONS else taps


def _bias(layer: Layer) -> torch.Tensor:
    return torch.zeros(1, dtype=torch.float64) if layer.bias is None else layer.bias.double()
