"""What transformers are made of: products of activations, softmax, norms, and moves from one order to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import fx

from edgeopt.ir.nodes import aten, node_arg, run_node
from edgeopt.ir.rewrite import arguments
from edgeopt.kernels.mcu import reference
from edgeopt.kernels.mcu.reference import Clamp, NormFactors
from edgeopt.ops.quantize import QUANTIZE
from edgeopt.quant.scheme import MOVES
from edgeopt.targets.mcu.graph.strides import Strides, canonical, in_order, strides
from edgeopt.targets.mcu.graph.tensor import Tensor
from edgeopt.targets.mcu.lower.state import Lowering, Refused, Value, copied, same_map, shape_of
from edgeopt.targets.mcu.nodes.copy import Copy, Piece
from edgeopt.targets.mcu.nodes.matmul import MatMul
from edgeopt.targets.mcu.nodes.norm import Norm
from edgeopt.targets.mcu.nodes.softmax import Softmax


def matmul(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """Products of two activations; heads and transposes become steps through memory."""
    left, right = (state.operand(value) for value in list(arguments(node).values())[:2])
    if left.shape[:-2] != right.shape[:-2] or len(left.shape) < 2:
        raise Refused("it multiplies matrices of different batches")
    if right.tensor.zero_point:
        raise Refused(f"its second operand has zero point {right.tensor.zero_point}: the kernel has 0")
    a, a_strides = _matrices(state, left, rows=True)
    b, b_strides = _matrices(state, right, rows=False)
    samples = _samples(shape_of(node))
    places, y_strides = _result(node)
    batch, rows, columns = y_strides.sizes
    depth = a_strides.sizes[2]
    if depth > 32768 or max(samples * batch, rows, columns) > 65535:
        raise Refused(f"{depth} products a sum, sizes {samples * batch}, {rows}, {columns}: 32768 and 65535 at most")
    ordered = torch.equal(places, in_order(places.shape))
    shape = (batch, rows, columns) if ordered else (1, rows, batch * columns)
    y = replace(y, shape=(samples * shape[0], *shape[1:]))
    multiplier = int(reference.multiplier(a.scale * b.scale / y.scale))
    steps = (a_strides, b_strides, y_strides)
    product = MatMul(
        node.name, (a.name, b.name), y.name, *steps, shape, multiplier, a.zero_point, clamp, samples=samples
    )
    return state.add(product, y, shape_of(node), places)


def _samples(shape: Sequence[int]) -> int:
    """How many products of several matrices each there are: windows or samples of so many heads."""
    return math.prod(shape[:-3])


def _batches(places: torch.Tensor, size: int) -> Strides | None:
    """Where the matrices of the first sample are, None where the others are not as they in equal parts of ``size``."""
    samples = _samples(places.shape)
    parts = places.reshape(samples, -1, *places.shape[-2:])
    starts = size // samples * torch.arange(samples)
    alike = size % samples == 0 and torch.equal(parts, parts[0] + starts[:, None, None, None])
    return strides(parts[0]) if alike else None


def _in_order(shape: Sequence[int]) -> Strides:
    """The matrices of a sample that lie one after another."""
    *before, rows, columns = shape
    return Strides(0, (math.prod(before[-1:]), rows, columns), (rows * columns, columns, 1))


def _matrices(state: Lowering, value: Value, rows: bool) -> tuple[Tensor, Strides]:
    """A tensor and its matrices in it. With ``rows`` these are of neighbors, a whole number of rows apart."""
    if any(value.padding):
        raise Refused("it reads padded values: only convolutions take padding")
    found = _batches(value.all_places(), value.tensor.size)
    if found is not None and (not rows or _is_of_rows(found)):
        return value.tensor, found
    return state.plain(value, rows=True), _in_order(value.shape)


def _is_of_rows(a: Strides) -> bool:
    (_, rows, depth), (_, row, step) = a.sizes, a.steps
    return (depth == 1 or step == 1) and (rows == 1 or (row % depth == 0 and row // depth <= 255))


def _result(node: fx.Node) -> tuple[torch.Tensor, Strides]:
    """Places of a product's result, and the matrices of a sample in it.

    Position after position where its reader wants the heads side by side.
    """
    shape = shape_of(node)
    readers = [reader for q in node.users if q.target is QUANTIZE for dq in q.users for reader in dq.users]
    rank = len(shape)
    swap = [*range(rank - 3), rank - 2, rank - 3, rank - 1]
    wanted = all(r.target is aten.permute.default and list(arguments(r)["dims"]) == swap for r in readers)
    if rank < 3 or not readers or not wanted:
        return in_order(shape), _in_order(shape)
    *before, heads, rows, columns = shape
    by_position = in_order((*before, rows, heads, columns)).transpose(-3, -2)
    return by_position, Strides(0, (heads, rows, columns), (columns, heads * columns, 1))


def norm(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """A norm over the last dimension."""
    found = arguments(node)
    shape = shape_of(node)
    if list(found["normalized_shape"]) != [shape[-1]]:
        raise Refused(f"a norm over {len(found['normalized_shape'])} dimensions: the kernel has one")
    if shape[-1] > 32768:
        raise Refused(f"a norm over {shape[-1]} values: at most 32768")
    x = state.plain(state.operand(found["input"]), rows=True)
    scale, shift = (_parameter(state, found.get(name), default) for name, default in (("weight", 1.0), ("bias", 0.0)))
    scale, shift = (np.broadcast_to(v, max(len(scale), len(shift))) for v in (scale, shift))
    centered = node.target is aten.layer_norm.default
    epsilon = torch.finfo(torch.float32).eps if found["eps"] is None else found["eps"]
    factors = NormFactors.of(shape[-1], epsilon, centered, scale, shift, x.scale, y.scale)
    y = replace(y, shape=x.shape)
    return state.add(Norm(node.name, (x.name,), y.name, factors, x.zero_point, clamp), y, shape, in_order(shape))


def _parameter(state: Lowering, node: fx.Node | None, default: float) -> np.ndarray:
    if node is None:
        return np.array([default])
    values = state.program.constant(node)
    if values is None:
        raise Refused("its scale or shift is computed at run time")
    return values.double().numpy()


def softmax(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """Softmax over the last dimension."""
    if arguments(node)["dim"] % node.meta["val"].dim() != node.meta["val"].dim() - 1:
        raise Refused("a softmax over another dimension than the last")
    if y.scale != 1 / 256 or y.zero_point != -128:
        raise Refused(f"a softmax of scale {y.scale:g}: the kernel has 1/256")
    x = state.plain(state.operand(arguments(node)["self"]), rows=True)
    shape = shape_of(node)
    lowered = Softmax(node.name, (x.name,), y.name, reference.exp_table(x.scale))
    return state.add(lowered, replace(y, shape=x.shape), shape, in_order(shape))


def concatenation(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """Tensors and constants side by side, copied into one."""
    found = arguments(node)
    parts = canonical(shape_of(node)).split([shape_of(part)[found["dim"]] for part in found["tensors"]], found["dim"])
    pieces, inputs = list[Piece](), list[str]()
    for part, places in zip(found["tensors"], parts, strict=True):
        value = state.operand(part)
        same_map(value.tensor, y)
        if any(value.padding):
            raise Refused("it reads padded values: only convolutions take padding")
        copies = copied(value.all_places(), places)
        pieces += copies
        inputs += [value.tensor.name] * len(copies)
    return state.add(Copy(node.name, tuple(inputs), y.name, tuple(pieces), y.shape), y, shape_of(node))


MOVES_OF_PLACES = MOVES - {aten.max_pool2d.default, aten.pad.default}
"""Moves that choose no value and put none in."""


def move(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """A move on paper: of places, not of bytes."""
    value = state.operand(node_arg(node, 0))
    same_map(value.tensor, y)
    if any(value.padding):
        raise Refused("it reads padded values: only convolutions take padding")
    places = run_node(node, lambda used: value.all_places())
    return Value(value.tensor, shape_of(node), places=places)
