"""Pack the weights of layers that multiply signs by signs, 32 to a word; name products of two activations of signs.

Before => after, for a linear and for a convolution in two dimensions:

    W x' + b,   x' = a sign(g x + s) + o,   W[n] = m[n] sign(W[n])
      =>  binary(x, shift = s / g, weight = pack(sign(W) sign(g)), scale = a m, bias = b + o m sum sign(W))

Before => after, for a product of activations, as in attention of signs:

    (p sign(g x + s) + o) (r sign(h y + t))
      =>  binary_matmul(x, y, s / g, t / h, p r sign(g) sign(h)),  with 2 p for p and bits where o = p: ones and zeros

A BatchNorm and a learned shift before the sign become one number a channel to compare with; the scale of activations
goes into that of the weight. Ones and zeros are signs too: half their sum with one, so they cost no other kernel.

Exact but where g x + s is exactly zero: the sign is +1 there, whereas torch's is 0.

Not when: a channel's weights have several magnitudes; what the sign is taken of is never negative, so that zeros are
common; a scale of activations differs by channel; a convolution is grouped or transposed, or pads ones and zeros.

Sources: X. Xing et al., BiPFT: Binary Pre-trained Foundation Transformer, AAAI 2024; Rastegari et al., XNOR-Net:
ImageNet Classification Using Binary Convolutional Neural Networks, ECCV 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from edgeopt.analysis.binary_activations import Signs, signs_of
from edgeopt.analysis.layers import Layer, describe, layer_of
from edgeopt.ir.nodes import aten, node_arg
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, arguments, op
from edgeopt.ops.binary_conv2d import BINARY_CONV2D
from edgeopt.ops.binary_linear import BINARY_LINEAR
from edgeopt.ops.binary_matmul import BINARY_MATMUL
from edgeopt.quant.binary import pack, scaled_signs
from edgeopt.quant.scheme import MOVES

_MOVES = MOVES - {aten.max_pool2d.default, aten.pad.default}


class PackLayer(Rule):
    """W x' + b => counts of equal bits, scaled and shifted."""

    def pattern(self) -> Pattern:
        """Draw a linear or convolution of an activation of two values."""
        return op(aten.linear.default, aten.conv2d.default, where=_reads_signs)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse where weight or activation is not a sign times one number."""
        layer, activation = layer_of(program, m.root), _activation(program, m.root)
        if isinstance(layer, str):
            return layer
        if reason := activation.refused:
            return reason
        if activation.axis not in (None, layer.input_axis):
            return f"what the sign is taken of has scales along axis {activation.axis}, channels lie along another"
        if scaled_signs(layer.weight) is None:
            return f"the weights of a channel of {layer.node.name} have several magnitudes"
        return _geometry_refuses(layer, activation)

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Insert the packed layer."""
        layer, activation = layer_of(program, m.root), _activation(program, m.root)
        assert isinstance(layer, Layer)
        found = scaled_signs(layer.weight)
        assert found is not None
        sign, magnitude = found
        dtype = layer.weight.dtype
        spread = (1, -1, *[1] * (sign.dim() - 2))
        inputs = layer.weight.shape[1]
        slope, shift = (value.expand(inputs) for value in (activation.slope, activation.shift / activation.slope))
        bias = 0.0 if layer.bias is None else layer.bias.double()
        bias = bias + activation.offset * magnitude.double() * sign.double().flatten(1).sum(1)
        oriented = sign * slope.sign().reshape(spread).to(dtype)
        constants = {
            "shift": shift.to(dtype),
            "weight": pack(oriented.movedim(1, -1)),
            "scale": (magnitude.double() * activation.factor).to(dtype),
            "bias": bias.to(dtype),
        }
        stem = arguments(m.root)["weight"].name.removesuffix("_weight")
        operands = [program.add_constant(f"{stem}_{name}", value) for name, value in constants.items()]
        if m.root.target is aten.linear.default:
            return program.insert(m.root, BINARY_LINEAR, activation.x, *operands)
        return program.insert(m.root, BINARY_CONV2D, activation.x, *operands, *_geometry(layer))


class PackProduct(Rule):
    """A product of two activations of signs => one operator that counts bits."""

    def pattern(self) -> Pattern:
        """Draw a product of two activations of two values each."""
        return op(aten.matmul.default, aten.bmm.default, where=_multiplies_signs)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse other values than signs, or ones and zeros, by signs."""
        a, b = _factors(program, m.root)
        for found in (a.signs, b.signs):
            if found.refused:
                return found.refused
            if found.slope.numel() != 1 or found.shift.numel() != 1:
                return f"what the sign is taken of is shifted or scaled along axis {found.axis}"
        if b.signs.offset:
            return f"the values of {describe(b.signs.x)} are no signs about zero"
        if a.signs.offset and not (a.signs.offset == a.signs.factor and float(a.signs.slope) > 0):
            return f"the values of {describe(a.signs.x)} are neither signs nor ones and zeros"
        return None

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Insert the operator, and what moves its operands' signs before it."""
        a, b = _factors(program, m.root)
        bits = bool(a.signs.offset)
        scale = a.signs.factor * (2 if bits else 1) * b.signs.factor * a.orientation * b.orientation
        operands = [factor.moved(program, m.root) for factor in (a, b)]
        return program.insert(m.root, BINARY_MATMUL, *operands, a.shift, b.shift, scale, bits)


class PackBinary(Rewrite):
    """Pack the layers and products of a network trained with signs as weights and activations."""

    name = "pack-binary"
    rules = (PackLayer(), PackProduct())


@dataclass(frozen=True)
class _Factor:
    """Signs that a product reads, and the moves between, the last first."""

    signs: Signs
    moves: tuple[fx.Node, ...]

    @property
    def shift(self) -> float:
        return float(self.signs.shift / self.signs.slope)

    @property
    def orientation(self) -> float:
        return float(self.signs.slope.sign())

    def moved(self, program: Program, before: fx.Node) -> fx.Node:
        """Insert the moves of what the signs are taken of: values move as their signs do."""
        value = self.signs.x
        for move in reversed(self.moves):
            value = program.insert(before, move.target, value, *move.args[1:])
        return value


def _factor(program: Program, node: object) -> _Factor | None:
    moves = []
    while isinstance(node, fx.Node) and node.target in _MOVES:
        moves.append(node)
        node = node.args[0]
    found = signs_of(program, node) if isinstance(node, fx.Node) else None
    return None if found is None else _Factor(found, tuple(moves))


def _factors(program: Program, node: fx.Node) -> tuple[_Factor, _Factor]:
    a, b = (_factor(program, value) for value in node.args[:2])
    assert a is not None and b is not None
    return a, b


def _multiplies_signs(program: Program, node: fx.Node) -> bool:
    return all(_factor(program, value) is not None for value in node.args[:2])


def _reads_signs(program: Program, node: fx.Node) -> bool:
    return isinstance(node.args[0], fx.Node) and signs_of(program, node.args[0]) is not None


def _activation(program: Program, node: fx.Node) -> Signs:
    found = signs_of(program, node_arg(node, 0))
    assert found is not None
    return found


def _geometry_refuses(layer: Layer, activation: Signs) -> str | None:
    if layer.node.target is aten.linear.default:
        return None
    given = arguments(layer.node)
    if given["groups"] != 1:
        return f"{layer.node.name} has {given['groups']} groups"
    if activation.offset and not layer.sums_all_taps:
        return f"{layer.node.name} pads with zeros, which are neither of its input's two values nor between them"
    return None


def _geometry(layer: Layer) -> list[list[int]]:
    given = arguments(layer.node)
    values = [list(given[name]) for name in ("stride", "padding", "dilation")]
    return [value * (2 // len(value)) for value in values]
