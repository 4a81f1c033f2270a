"""The layers of a quantized program beside their float originals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.ir.nodes import node_arg
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.quantize import DEQUANTIZE
from edgeopt.quant.qparams import Affine, to_integers
from edgeopt.quant.scheme import WEIGHTED


@dataclass(frozen=True)
class QuantizedLayer:
    """A linear or convolution whose weight is stored as integers.

    ``node`` is the layer in the quantized program, ``original`` the same in the float one; ``weight`` is the float
    weight, ``stored`` the integers and ``affine`` their map.
    """

    node: fx.Node
    original: fx.Node
    weight: torch.Tensor
    stored: torch.Tensor
    affine: Affine

    @property
    def input(self) -> str:
        """Name of the value that the float layer reads."""
        return node_arg(self.original, 0).name

    @property
    def scale(self) -> torch.Tensor:
        """The weight's scale, shaped to multiply it."""
        return self.affine.scale.view(-1, *[1] * (self.weight.dim() - 1))

    @property
    def rounded(self) -> torch.Tensor:
        """The weight as the integers stand for it."""
        return self.stored * self.scale

    def store(self, program: Program, integers: torch.Tensor, scale: torch.Tensor | None = None) -> None:
        """Let the layer, and it alone, read other integers, at the same scale or another; an int32 bias follows it."""
        old, bias = arguments(self.node)["weight"], arguments(self.node)["bias"]
        constants = None if scale is None else _stored(program, bias)
        if scale is not None and constants is not None:
            stored, affine = constants
            follows = Affine(affine.scale * (scale / self.affine.scale), affine.zero_point)
            _replace(program, self.node, bias, to_integers(stored * affine.scale, follows), follows.scale)
        _replace(program, self.node, old, integers, scale)


def quantized_layers(program: Program, reference: Program) -> Iterator[QuantizedLayer]:
    """Yield the layers of ``program`` whose weight is stored as integers, in execution order.

    ``reference`` is the program that was quantized: its layers have the same names.
    """
    originals = {node.name: node for node in reference.calls}
    for node in list(program.calls):
        if node.target not in WEIGHTED or node.name not in originals:
            continue
        constants = _stored(program, arguments(node)["weight"])
        weight = reference.constant(arguments(originals[node.name])["weight"])
        if constants is not None and weight is not None:
            q, affine = constants
            yield QuantizedLayer(node, originals[node.name], weight, q, affine)


def add_to_bias(program: Program, layer: QuantizedLayer, shift: torch.Tensor) -> None:
    """Add a real value to each output channel's bias; an int32 bias stays so, at its scale."""
    bias = arguments(layer.node)["bias"]
    constants = _stored(program, bias)
    if constants is None:
        constant = program.constant(bias)
        assert constant is not None
        layer.node.replace_input_with(bias, program.add_constant(bias.name, constant + shift))
        return
    stored, affine = constants
    _replace(program, layer.node, bias, stored + to_integers(shift, affine), None)


def _replace(program: Program, node: fx.Node, old: fx.Node, integers: torch.Tensor, scale: torch.Tensor | None) -> None:
    """Let a layer read other integers in place of a dequantized constant, at another scale where one is given."""
    stored, old_scale, rest = node_arg(old, 0), node_arg(old, 1), old.args[2:]
    q = program.add_constant(stored.name, integers)
    new = old_scale if scale is None else program.add_constant(old_scale.name, scale)
    node.replace_input_with(old, program.insert(node, DEQUANTIZE, q, new, *rest))


def _stored(program: Program, node: fx.Node | None) -> tuple[torch.Tensor, Affine] | None:
    """Return the integers behind a dequantized constant and their map, or None for anything else."""
    if node is None or node.target is not DEQUANTIZE:
        return None
    q, scale, zero_point = (program.constant(value) for value in node.args[:3])
    if q is None or scale is None or zero_point is None:
        return None
    return q, Affine(scale, zero_point, arguments(node)["axis"])
