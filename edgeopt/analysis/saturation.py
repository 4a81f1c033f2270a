"""Which processors compute the integers of a quantized program exactly, and what it costs that all do.

x86 processors without VNNI sum products of uint8 and int8 in pairs in 16 bits; see ``edgeopt.quant.pairs`` for which
weights meet. uint8 weights are multiplied in 32 bits everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.quantized_layers import QuantizedLayer, quantized_layers
from edgeopt.errors import UserError
from edgeopt.ir.program import Program, op_name
from edgeopt.ir.provenance import source_line
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.quantize import DEQUANTIZE
from edgeopt.quant.pairs import LIMIT, Order, largest_sums, order_of
from edgeopt.quant.qparams import for_weight, to_integers
from edgeopt.quant.scheme import MOVES, WEIGHTED
from edgeopt.quant.sums import largest_sum
from edgeopt.records.quantization import PairedLayer

PORTABLE, ONLY_VNNI = "portable", "only-vnni"
"""What processors an artifact promises to be right on: all, or x86 with VNNI."""

_ANY: Order = "any"
_INT32 = 2**31 - 1


@dataclass(frozen=True)
class PairSum:
    """What two weights of one sign come to at most in a layer: of those that kernels add, and of any two.

    Both are 0 where the weights are uint8.
    """

    layer: str
    largest: int
    in_any_order: int

    @property
    def saturates(self) -> bool:
        """Whether activations of 255 let such a pair leave 16 bits."""
        return self.largest > LIMIT


def pair_sums(program: Program) -> tuple[PairSum, ...]:
    """Return the largest pairs of every layer that multiplies stored integers by quantized activations.

    A layer that rounds activations by token is none: without VNNI, runtimes multiply int8 by int8, or floats.
    """
    return tuple(_pair_sum(program, node) for node in _integer_layers(program))


def deployment(program: Program) -> dict[str, Any]:
    """Return what processors compute a program's integers rightly, for a manifest; nothing where it has none.

    Raises UserError where none does: a sum leaves 32 bits.
    """
    _check_sums(program)
    found = pair_sums(program)
    if not found:
        return {}
    saturating = {one.layer: one.largest for one in found if one.saturates}
    if not saturating:
        return {"processors": PORTABLE}
    return {"processors": ONLY_VNNI, "saturating": saturating}


def _integer_layers(program: Program) -> list[fx.Node]:
    return [node for node in program.calls if node.target in WEIGHTED and _multiplies_integers(node)]


def _check_sums(program: Program) -> None:
    for node in _integer_layers(program):
        if (largest := _largest_sum(program, node)) > _INT32:
            raise UserError(
                f"layer '{node.name}'{source_line(node)} has sums of up to {largest}, 32 bits hold {_INT32}",
                "give the float model: with --precision int8 its weights get a scale at which they fit",
            )


def _largest_sum(program: Program, node: fx.Node) -> int:
    weight, bias = arguments(node)["weight"], arguments(node)["bias"]
    stored, center = (program.constant(weight.args[part]) for part in (0, 2))
    assert stored is not None and center is not None
    integers = stored.long() - center.long().view(-1, *[1] * (stored.dim() - 1))
    is_stored = bias is not None and bias.target is DEQUANTIZE
    return largest_sum(integers, program.constant(bias.args[0]) if is_stored else None)


def _pair_sum(program: Program, node: fx.Node) -> PairSum:
    stored = program.constant(arguments(node)["weight"].args[0])
    assert stored is not None
    if stored.dtype is not torch.int8:
        return PairSum(node.name, 0, 0)
    order, integers = order_of(stored.shape, arguments(node).get("groups", 1)), stored.int()
    return PairSum(node.name, *(int(largest_sums(integers, met).max()) for met in (order, _ANY)))


def _multiplies_integers(node: fx.Node) -> bool:
    found = arguments(node)
    source = found["input"]
    while source.target in MOVES:
        source = source.args[0]
    return source.target is DEQUANTIZE and found["weight"].target is DEQUANTIZE


def pair_costs(program: Program, reference: Program) -> Iterator[PairedLayer]:
    """Yield the layers whose int8 weights do not take the full range; ``reference`` is the program before."""
    for layer in quantized_layers(program, reference):
        full = for_weight(layer.weight)
        if layer.affine.dtype is torch.int8 and bool((layer.affine.scale > full.scale).any()):
            rounded = to_integers(layer.weight, full) * full.scale.view(layer.scale.shape)
            yield PairedLayer(layer.node.name, op_name(layer.node), _db(layer, rounded), _db(layer, layer.rounded))


def _db(layer: QuantizedLayer, rounded: torch.Tensor) -> float:
    error = float((layer.weight - rounded).double().square().sum())
    return 10 * math.log10(float(layer.weight.double().square().sum()) / error) if error else math.inf
