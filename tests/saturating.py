"""The arithmetic of x86 processors without VNNI, in torch: pairs of products are summed in a saturating int16.

``run(program, inputs, saturates=True)`` runs a quantized program with its linears and convolutions as VPMADDUBSW
computes them, with ``saturates=False`` as exact integers do. uint8 weights are multiplied in 32 bits by either.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.calib.moments import patches
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE
from edgeopt.passes.quantization.insert_qdq import moved_value
from edgeopt.quant.pairs import Order, order_of
from edgeopt.quant.scheme import MOVES, WEIGHTED

_LOWEST, _HIGHEST = -(2**15), 2**15 - 1


def run(program: Program, inputs: Mapping[str, np.ndarray], saturates: bool) -> dict[str, np.ndarray]:
    """Run one inference on such a processor, or on one that sums products in 32 bits."""
    values: dict[fx.Node, Any] = {}
    return program.run(inputs, partial(_compute, program, values, saturates))


def _compute(program: Program, values: dict[fx.Node, Any], saturates: bool, node: fx.Node, value: Any) -> Any:
    stores_integers = node.target in WEIGHTED and arguments(node)["weight"].target is DEQUANTIZE
    if stores_integers and (map_ := _activation_map(program, node)) is not None:
        value = _layer(program, node, values[arguments(node)["input"]], map_, saturates)
    values[node] = value
    return value


def _activation_map(program: Program, node: fx.Node) -> tuple[float, int] | None:
    """Return scale and zero point of what a layer reads as integers, the latter as uint8 has it; None for floats."""
    used = arguments(node)["input"]
    while used.target in MOVES:
        used = moved_value(used)
    if used.target is not DEQUANTIZE or used.args[0].target is not QUANTIZE:
        return None
    scale, zero = (program.constant(part) for part in used.args[1:3])
    assert scale is not None and zero is not None
    return float(scale), int(zero) + (128 if zero.dtype == torch.int8 else 0)


def _layer(program: Program, node: fx.Node, x: torch.Tensor, map_: tuple[float, int], saturates: bool) -> torch.Tensor:
    found, (scale, zero) = arguments(node), map_
    stored, weight_scale, center = (program.constant(part) for part in found["weight"].args[:3])
    assert stored is not None and weight_scale is not None and center is not None
    weight = stored.double() - center.double().view(-1, *[1] * (stored.dim() - 1))
    groups = found.get("groups", 1)
    # Padding is zero, and so the zero point once that is added.
    read = patches(node, x.double() / scale).round() + zero
    order = order_of(weight.shape, groups) if saturates and stored.dtype == torch.int8 else "none"
    rows = weight.reshape(groups, -1, read.shape[2])
    total = _sums(read, rows, _pairs(order, weight.shape[1], read.shape[2])) - zero * rows.sum(2).unsqueeze(1)
    shape = (groups, *_positions(node, x), -1)
    result = total.reshape(shape).movedim(0, -2).flatten(-2) * scale * weight_scale.double()
    bias = found["bias"]
    if bias is not None:
        result = result + _values(program, bias).double()
    return (result if node.target is torch.ops.aten.linear.default else result.movedim(-1, 1)).float()


def _positions(node: fx.Node, x: torch.Tensor) -> tuple[int, ...]:
    shape = node.meta["val"].shape
    return tuple(x.shape[:-1]) if arguments(node)["weight"].meta["val"].dim() == 2 else (x.shape[0], *shape[2:])


def _values(program: Program, node: fx.Node) -> torch.Tensor:
    """Return a constant, or what its integers stand for."""
    if node.target is not DEQUANTIZE:
        constant = program.constant(node)
        assert constant is not None
        return constant
    stored, scale = (program.constant(part) for part in node.args[:2])
    assert stored is not None and scale is not None
    return stored.double() * scale.double()


def _pairs(order: Order, channels: int, count: int) -> torch.Tensor:
    """Return which of ``count`` products are added in pairs (n, 2); ``count`` itself stands for none."""
    if order == "none":
        return torch.empty(0, 2, dtype=torch.long)
    at = torch.arange(count).view(channels, -1)
    if order == "any":  # pairs go across taps, with the channels of a tap side by side
        at = at.T.reshape(-1, 1)
    if len(at) % 2:
        at = torch.cat([at, torch.full_like(at[:1], count)])
    y: torch.Tensor = at.unflatten(0, (-1, 2)).transpose(1, 2).reshape(-1, 2)
    return y


def _sums(read: torch.Tensor, weight: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Return sums (groups, positions, outputs) of activations (groups, positions, K) and weights (groups, outputs, K).

    Only pairs that can leave 16 bits, by their weights and the largest of these activations, are computed one by one.
    """
    total = read @ weight.transpose(1, 2)
    read, weight = (torch.nn.functional.pad(part, (0, 1)) for part in (read, weight))
    largest = read.amax(1, keepdim=True)
    above, below = (
        (largest * part)[..., pairs].sum(3).amax(1) for part in (weight.clamp_min(0), (-weight).clamp_min(0))
    )
    for group, pair in ((above > _HIGHEST) | (below > -_LOWEST)).nonzero().tolist():
        products = read[group][:, None, pairs[pair]] * weight[group][None, :, pairs[pair]]
        exact = products.sum(2)
        total[group] += exact.clamp(_LOWEST, _HIGHEST) - exact
    return total
