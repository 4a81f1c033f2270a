"""Pack the weights of layers that multiply signs by signs: 32 to a word, products by counting bits.

Before => after, for a linear and for a convolution in two dimensions:

    W x' + b,   x' = a sign(g x + s) + o,   W[n] = m[n] sign(W[n])
      =>  binary(x, shift = s / g, weight = pack(sign(W) sign(g)), scale = a m, bias = b + o m sum sign(W))

A BatchNorm and a learned shift before the sign become one number a channel to compare with; the scale of activations
goes into that of the weight. Ones and zeros are signs too: half their sum with one, so they cost no other kernel.

Exact but where g x + s is exactly zero: the sign is +1 there, whereas torch's is 0.

Not when: a channel's weights have several magnitudes; what the sign is taken of is never negative, so that zeros are
common; a scale of activations differs by channel; a convolution is grouped or transposed, or pads ones and zeros.

Sources: X. Xing et al., BiPFT: Binary Pre-trained Foundation Transformer, AAAI 2024; Rastegari et al., XNOR-Net:
ImageNet Classification Using Binary Convolutional Neural Networks, ECCV 2016.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.folding.layers import Layer, layer_of
from edgeopt.ops.binary_conv2d import BINARY_CONV2D
from edgeopt.ops.binary_linear import BINARY_LINEAR
from edgeopt.program import Program
from edgeopt.quant.binary import pack, scaled_signs
from edgeopt.rewrite import Match, Pattern, Rewrite, Rule, arguments, op
from edgeopt.structures.signs import Signs, signs_of

aten = torch.ops.aten


class PackLayer(Rule):
    """W x' + b => counts of equal bits, scaled and shifted."""

    def pattern(self) -> Pattern:
        """Draw a linear or convolution of an activation of two values."""
        return op(aten.linear.default, aten.conv2d.default, where=_reads_signs)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse where weight or activation is no sign times one number."""
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


class PackSigns(Rewrite):
    """Pack the layers of a network trained with signs as weights and activations."""

    name = "pack-signs"
    rules = (PackLayer(),)


def _reads_signs(program: Program, node: fx.Node) -> bool:
    return isinstance(node.args[0], fx.Node) and signs_of(program, node.args[0]) is not None


def _activation(program: Program, node: fx.Node) -> Signs:
    found = signs_of(program, node.args[0])  # type: ignore[arg-type]
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
