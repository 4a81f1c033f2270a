"""A factor for each channel, carried back to the layer or norm that makes the channels.

An axis cannot say where channels lie once attention has cut them into heads: the shape of the factor can. It has the
value's rank, and size 1 along every axis on which it is constant. With f such a factor:

    f * (W x + b)         =>  (diag(f) W) x + f b               linear and convolution
    f * (g norm(x) + b)   =>  (f g) norm(x) + f b
    f * relu(x)           =>  relu(f * x), f > 0
    f * (P V)             =>  P (f * V), f constant over the rows of V     the values of attention
    f * reshape(x)        =>  reshape(f' * x)                   heads cut, swapped with tokens, and joined

Not when: something else reads a value on the way, as a residual connection does; what stands there is none of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.layers import Layer, describe, is_layer, layer_of
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program, redefine
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import LAST_AXIS_NORMS


@dataclass(frozen=True)
class Maker:
    """A layer or norm, the factor of each of its channels, and the nodes between it and the value."""

    node: fx.Node
    factor: torch.Tensor
    between: tuple[fx.Node, ...]

    def take(self, program: Program) -> None:
        """Let the node make its channels that many times as large."""
        given = arguments(self.node)
        if given["weight"] is None:
            self._give_weight(program, given)
        for name in ("weight", "bias"):
            old = given.get(name)
            if old is not None:
                values = program.constants[old.name]
                scaled = values * self.factor.view(-1, *[1] * (values.dim() - 1))
                self.node.replace_input_with(old, program.add_constant(old.name, scaled))
        for node in (self.node, *self.between):
            redefine(node)

    def _give_weight(self, program: Program, given: dict[str, Any]) -> None:
        weight = program.add_constant(f"{self.node.name}_weight", self.factor.clone())
        place = list(given).index("weight")
        args = [*given.values()]
        args[place] = weight
        self.node.args = tuple(args[: max(len(self.node.args), place + 1)])


def maker(program: Program, value: fx.Node, readers: Collection[fx.Node], factor: torch.Tensor) -> Maker | str:
    """Return what can multiply the last axis of ``value`` by ``factor`` (positive), or the reason why nothing can.

    ``readers`` are those that want the product.
    """
    node, known = value, set(readers)
    shaped = factor.view(*[1] * (value.meta["val"].dim() - 1), -1)
    between: list[fx.Node] = []
    while True:
        if others := [user.name for user in node.users if user not in known]:
            return f"{describe(node)} is also read by {', '.join(others)}"
        if node.target not in _BACK:
            break
        operand, carry = _BACK[node.target]
        source = node.args[operand]
        assert isinstance(source, fx.Node)
        carried = carry(node, source, shaped)
        if carried is None:
            return f"{describe(node)} mixes channels of different factors"
        between.append(node)
        node, known, shaped = source, {node}, carried
    return _made(program, node, shaped, tuple(between))


def _made(program: Program, node: fx.Node, factor: torch.Tensor, between: tuple[fx.Node, ...]) -> Maker | str:
    if node.target in LAST_AXIS_NORMS:
        given = arguments(node)
        factors = [given[name] for name in ("weight", "bias") if given.get(name) is not None]
        if len(given["normalized_shape"]) != 1 or any(program.constant(one) is None for one in factors):
            return f"the weight of {describe(node)} is computed at run time, or of several axes"
        axis = factor.dim() - 1
    elif is_layer(node):
        layer = layer_of(program, node)
        if isinstance(layer, str):
            return layer
        if layer.weight_input_axis == 0:
            return f"{describe(node)} is transposed"
        axis = layer.output_axis
    else:
        return f"{describe(node)} is not linear"
    if factor.numel() != factor.shape[axis]:
        return f"its channels are not those of {describe(node)}"
    return Maker(node, factor.flatten(), between)


def divide_inputs(program: Program, layer: Layer, factor: torch.Tensor) -> None:
    """Let a linear expect its input channels that many times as large."""
    old = arguments(layer.node)["weight"]
    layer.node.replace_input_with(old, program.add_constant(old.name, layer.weight / factor))


def _same(node: fx.Node, source: fx.Node, factor: torch.Tensor) -> torch.Tensor | None:
    return factor


def _permute(node: fx.Node, source: fx.Node, factor: torch.Tensor) -> torch.Tensor | None:
    dims = [dim % factor.dim() for dim in arguments(node)["dims"]]
    return factor.permute([dims.index(axis) for axis in range(len(dims))])


def _reshape(node: fx.Node, source: fx.Node, factor: torch.Tensor) -> torch.Tensor | None:
    """Return the factor before a reshape that regroups the last axes, on which alone it varies."""
    before, after = source.meta["val"].shape, node.meta["val"].shape
    constant = next((k for k, size in enumerate(factor.shape) if size != 1), factor.dim())
    for first in range(constant, -1, -1):
        for start in range(len(before)):
            tail, old = after[first:], before[start:]
            if all(isinstance(size, int) for size in (*tail, *old)) and math.prod(tail) == math.prod(old):
                whole = factor.expand(*factor.shape[:first], *tail)
                return whole.reshape(*[1] * start, *old)
    return None


def _values(node: fx.Node, source: fx.Node, factor: torch.Tensor) -> torch.Tensor | None:
    """Return the factor of the values of an attention, whose rows the product sums."""
    shape = source.meta["val"].shape
    fits = factor.dim() == len(shape) and factor.shape[-2] == 1
    return factor if fits and all(size in (1, shape[axis]) for axis, size in enumerate(factor.shape)) else None


_BACK: dict[Any, tuple[int, Callable[[fx.Node, fx.Node, torch.Tensor], torch.Tensor | None]]] = {
    aten.bmm.default: (1, _values),
    aten.clone.default: (0, _same),
    aten.matmul.default: (1, _values),
    aten.permute.default: (0, _permute),
    aten.relu.default: (0, _same),
    aten.reshape.default: (0, _reshape),
    aten.scaled_dot_product_attention.default: (2, _values),
}
"""Which operand a factor is carried to, and how."""
