"""What a target computes on integers, and how: the data that drives ``insert-qdq``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import fx

from edgeopt.errors import UserError
from edgeopt.ir.nodes import Target, aten
from edgeopt.ir.rewrite import arguments
from edgeopt.quant import pairs
from edgeopt.quant.float4 import Element

Operator = Callable[..., object]

WEIGHTED: frozenset[Operator] = frozenset({aten.conv1d.default, aten.conv2d.default, aten.linear.default})
"""Operators of the form ``op(input, weight, bias, ...)`` with the output channels along axis 0 of the weight."""

PRODUCTS: frozenset[Operator] = frozenset({aten.matmul.default, aten.bmm.default})
"""Products of two activations, as in attention."""

NORMS: frozenset[Operator] = frozenset({aten.layer_norm.default, aten.rms_norm.default})
"""Norms over the last dimensions."""

SOFTMAXES: frozenset[Operator] = frozenset({aten.softmax.int})
"""Softmaxes, as in attention that is written out."""

SCALED_ATTENTION: frozenset[Operator] = frozenset({aten.scaled_dot_product_attention.default})
"""Attention as one operator."""

SUMS: frozenset[Operator] = frozenset({aten.add.Tensor})
"""Elementwise sums of two activations, as in residual connections."""

POOLS: frozenset[Operator] = frozenset({aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default, aten.mean.dim})
"""Averages: sums of integers and one multiplication."""

CONCATENATIONS: frozenset[Operator] = frozenset({aten.cat.default})
"""Joins: their operands share one map, so that integers are only copied."""

RECTIFIERS: frozenset[Operator] = frozenset({aten.relu.default, aten.relu6.default, aten.hardtanh.default})
"""Activation functions that saturation to a range does by itself."""

MOVES: frozenset[Operator] = frozenset(
    {
        aten.reshape.default,
        aten.permute.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
        aten.slice.Tensor,
        aten.select.int,
        aten.expand.default,
        aten.clone.default,
        aten.max_pool2d.default,
        aten.pad.default,
    }
)
"""Operators that only move values or choose among them: integers stay what they are (zero is always exact)."""

DIVISIONS: frozenset[Operator] = frozenset(
    {aten.unbind.int, aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default}
)
"""Operators whose results are the parts of one tensor."""


@dataclass(frozen=True)
class Scheme:
    """How a target computes in INT8.

    ``activation`` is the integer type of activations (weights are int8). ``integer`` names the operators that run on
    integers, ``fused`` the activation functions that they absorb. With ``integer_bias`` biases are int32. With
    ``integer_results`` every integer operator and every move between them leaves integers, as kernels want that have no
    other output, save for ``float_results``: these leave floats where no integer operator reads the result. Otherwise
    values are quantized only where an integer operator reads them. Without ``float_beside`` nothing may be added that
    computes in float beside the integer operators. With ``symmetric_products`` the second operand of a product of
    activations has zero point 0, as a weight has; with ``constant_sums`` a sum may add a constant of its shape, which
    is stored as integers. With ``symmetric`` every zero point is 0. ``in_float`` says of operators that other targets
    run on integers why this one does not.
    With ``per_token`` linears find a scale for each token as they run, instead of a calibrated one for the tensor. With
    ``codebook`` weights are its sixteen integers, but for those of depthwise convolutions; ``codebooks`` names others
    for some layers. With ``shifts`` all scales are powers of two. With ``paired`` the products of two weights fit a
    saturating sum of 16 bits (see ``edgeopt.quant.pairs``).
    """

    activation: torch.dtype
    integer: frozenset[Operator]
    fused: frozenset[Operator] = RECTIFIERS
    moves: frozenset[Operator] = MOVES
    integer_bias: bool = True
    integer_results: bool = True
    float_results: frozenset[Operator] = frozenset()
    float_beside: bool = True
    symmetric_products: bool = False
    constant_sums: bool = False
    symmetric: bool = False
    in_float: Mapping[Target, str] = field(default_factory=dict, hash=False)
    per_token: bool = False
    codebook: Element | None = None
    codebooks: Mapping[str, Element] = field(default_factory=dict, hash=False)
    shifts: bool = False
    paired: bool = False

    def codebook_of(self, node: fx.Node) -> Element | None:
        """Return the integers that the weights of a layer are, or None for all of int8.

        A depthwise filter has too few weights for a few numbers to average out.
        """
        return None if arguments(node).get("groups", 1) != 1 else self.codebooks.get(node.name, self.codebook)

    def order_of(self, node: fx.Node) -> pairs.Order:
        """Return which weights of a layer are added in pairs that have to fit 16 bits."""
        found = arguments(node)
        return pairs.order_of(found["weight"].meta["val"].shape, found.get("groups", 1)) if self.paired else "none"


ACTIVATIONS = ("tensor", "token")
"""What shares a scale among the activations that linears read."""


def check_activations(value: str) -> None:
    """Raise UserError where a value is none of ``ACTIVATIONS``."""
    if value not in ACTIVATIONS:
        raise UserError(f"activations is '{value}'", f"choose one of: {', '.join(ACTIVATIONS)}")
