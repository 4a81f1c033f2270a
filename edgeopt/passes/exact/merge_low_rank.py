"""Multiply the factors of a linear that has nothing between them, where the product is cheaper.

Before => after:

    B (A x + a) + b  =>  (B A) x + (B a + b)

With A of shape [r, n] and B of shape [m, r], the factors take r * (n + m) multiplications a token and the product
n * m: below the rank n * m / (n + m) the factors are kept. Of three factors n -> r -> r -> m the middle one always
pays, so that two are left. Pointwise convolutions are merged alike; the first one may not pad, since a padded
border has no bias of it.

Not when: the factors are cheaper; what is between is read elsewhere; a weight is shared, computed at run time or
16 bits wide; a convolution is not a pointwise one.

Source: Liang et al., MCUFormer: Deploying Vision Transformers on Microcontrollers with Limited Memory, NeurIPS
2023, whose low-rank linears have three factors; the identity is the associativity of the product.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.analysis.layers import Layer, layer_of
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, any_, arguments, op

_FACTORS = (aten.linear.default, aten.conv1d.default, aten.conv2d.default)


class MergeFactors(Rule):
    """B (A x + a) + b => (B A) x + (B a + b)."""

    def pattern(self) -> Pattern:
        """Draw two linears, or two pointwise convolutions, in a row."""
        return op(*_FACTORS, input=op(*_FACTORS, name="first", input=any_("x")), where=_follows_its_kind)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse where weights may not be rewritten or the product is dearer."""
        first, second = layer_of(program, m["first"]), layer_of(program, m.root)
        if isinstance(first, str) or isinstance(second, str):
            return first if isinstance(first, str) else str(second)
        for layer in (first, second):
            if reason := _not_pointwise(layer):
                return reason
        inputs, rank, outputs = first.weight.shape[1], first.weight.shape[0], second.weight.shape[0]
        factors, product = rank * (inputs + outputs), inputs * outputs
        if product > factors:
            return f"the factors take {factors} multiplications a token, their product {product}"
        return None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Insert the product."""
        first, second = layer_of(program, m["first"]), layer_of(program, m.root)
        assert isinstance(first, Layer) and isinstance(second, Layer)
        left, right = _matrix(second), _matrix(first)
        weight = (left @ right).reshape(*second.weight.shape[:1], *first.weight.shape[1:])
        bias = _bias(first, left, second)
        name = arguments(m.root)["weight"].name
        constants = [program.add_constant(name, weight.to(second.weight.dtype))]
        if bias is not None:
            stem = name.removesuffix("_weight")
            constants.append(program.add_constant(f"{stem}_bias", bias.to(second.weight.dtype)))
        return program.insert(m.root, m.root.target, m["x"], *constants)


class MergeLowRank(Rewrite):
    """Merge the factors of linears and pointwise convolutions where that pays."""

    name = "merge-low-rank"
    rules = (MergeFactors(),)


def _follows_its_kind(program: Program, node: fx.Node) -> bool:
    source = node.args[0]
    return isinstance(source, fx.Node) and source.target is node.target


def _not_pointwise(layer: Layer) -> str | None:
    given = arguments(layer.node)
    if layer.node.target is aten.linear.default:
        return None
    one = [1] * (layer.weight.dim() - 2)
    spread = {"stride": one, "dilation": one, "padding": [0] * len(one), "groups": 1}
    if list(layer.weight.shape[2:]) != one:
        return f"{layer.node.name} is not a pointwise convolution"
    for name, neutral in spread.items():
        value = given[name]
        if (list(value) * (len(one) // len(value)) if isinstance(value, list | tuple) else value) != neutral:
            return f"{layer.node.name} has {name} {value}"
    return None


def _matrix(layer: Layer) -> torch.Tensor:
    return layer.weight.double().flatten(1)


def _bias(first: Layer, left: torch.Tensor, second: Layer) -> torch.Tensor | None:
    parts = [] if first.bias is None else [left @ first.bias.double()]
    parts += [] if second.bias is None else [second.bias.double()]
    return torch.stack(parts).sum(0) if parts else None
