"""Layers of signs: bits pass from one to the next, int8 goes in and comes out.

    int8 -> f -> sign(. + shift)                     =>  a comparison of each value with a threshold of its channel
    layer of signs -> f -> sign(. + shift)           =>  the layer, its sum compared with a threshold of its channel
    layer of signs [-> rectifier] -> q               =>  the layer, its sum as int8

f is whatever goes value by value (batch norm, rectifier, GELU), with max pools in between, which become maxima of
signs. The thresholds are found by computing f in float for every value or sum that there can be: they are the ones at
which the program's own sign turns. Where it turns the other way the layer's weights are negated.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import fx

from edgeopt.ir.nodes import aten, pair, run_node
from edgeopt.ir.rewrite import arguments
from edgeopt.kernels.mcu import binary
from edgeopt.kernels.mcu.binary import ByteThresholds, Requant, Thresholds
from edgeopt.kernels.mcu.reference import Clamp, Int8, Window
from edgeopt.ops.binary_conv2d import BINARY_CONV2D
from edgeopt.ops.binary_linear import BINARY_LINEAR
from edgeopt.quant.binary import unpack
from edgeopt.targets.mcu.graph.strides import in_order
from edgeopt.targets.mcu.graph.tensor import Shape, Tensor
from edgeopt.targets.mcu.lower import tokens as lower_tokens
from edgeopt.targets.mcu.lower.region import is_pointwise
from edgeopt.targets.mcu.lower.state import Lowering, Refused, Value, map_shape, shape_of, window_of
from edgeopt.targets.mcu.nodes.binary_conv2d import BinaryConv2d
from edgeopt.targets.mcu.nodes.binary_max_pool2d import BinaryMaxPool2d
from edgeopt.targets.mcu.nodes.node import Node
from edgeopt.targets.mcu.nodes.of_signs import tensor_of_signs
from edgeopt.targets.mcu.nodes.sign import Sign

LAYERS = (BINARY_CONV2D, BINARY_LINEAR)


def layer(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """A layer of signs whose result is read as int8."""
    weights, found = _weights(state, node), arguments(node)
    scale, bias = (state.program.constant(found[name]).double().numpy() for name in ("scale", "bias"))  # type: ignore[union-attr]
    end = Requant.of(np.abs(scale), bias, y.scale, clamp)
    weights = np.where(scale < 0, -1, 1).astype(np.int8)[:, None, None, None] * weights
    x = _signs(state, node)
    window, samples = _window(node, weights)
    lowered = BinaryConv2d(node.name, (x.name,), y.name, weights, window, end, samples=samples)
    y, places = replace(y, shape=map_shape(shape_of(node), _rows(node))), in_order(shape_of(node))
    return state.add(lowered, y, shape_of(node), places if _rows(node) else None)


def _rows(layer: fx.Node) -> bool:
    """Whether a layer reads and returns vectors along the last dimension, where a convolution has maps."""
    return layer.target is BINARY_LINEAR


# -- what a layer reads ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Way:
    """From ``source`` (int8, or a layer of signs) through ``nodes`` to the sign of the result plus ``shift``.

    ``rows``: the signs are packed along the last dimension, not along the channels of a map.
    """

    source: fx.Node
    nodes: tuple[fx.Node, ...]
    shift: torch.Tensor
    rows: bool

    @property
    def pools(self) -> list[fx.Node]:
        """The max pools on it."""
        return [node for node in self.nodes if node.target is aten.max_pool2d.default]


def _signs(state: Lowering, layer: fx.Node) -> Tensor:
    """The packed signs that a layer reads: of its input plus its shift."""
    found, rows = arguments(layer), _rows(layer)
    key = found["x"], found["shift"], rows
    if key not in state.signs:
        state.signs[key] = _taken(state, _way_to(state, *key))
    return state.signs[key]


def _taken(state: Lowering, way: _Way) -> Tensor:
    state.covered |= {*way.nodes}
    if way.source.target in LAYERS:
        state.covered.add(way.source)
        x, shape = _layer_of_layer(state, way)
    else:
        x, shape = _compared(state, way)
    if way.pools and (way.rows or len(shape_of(way.pools[0])) != 4):
        raise Refused("it takes signs along another dimension than the channels of a max pool")
    for pool in way.pools:
        x, shape = _pooled(state, pool, x, shape)
    return x


def _way_to(state: Lowering, node: fx.Node, shift: fx.Node, rows: bool) -> _Way:
    nodes: list[fx.Node] = []
    while node not in state.values and node.target not in LAYERS:
        read = [used for used in node.all_input_nodes if state.program.constant(used) is None]
        passes = node.target in (aten.max_pool2d.default, *lower_tokens.MOVES_OF_PLACES) or is_pointwise(node)
        if node.op != "call_function" or not passes or len(read) != 1:
            raise Refused(f"it takes signs of {node.name}, which is neither int8 nor goes value by value")
        nodes.insert(0, node)
        (node,) = read
    return _Way(node, tuple(nodes), state.program.constants[shift.name], rows)


def _layer_of_layer(state: Lowering, way: _Way) -> tuple[Tensor, Shape]:
    """A layer of signs whose result is read as signs."""
    node = way.source
    if _rows(node) is not way.rows:
        raise Refused(f"{node.name} has its channels along another dimension than the layer that reads its signs")
    weights, found = _weights(state, node), arguments(node)
    terms = weights[0].size
    sums = torch.arange(-terms, terms + 1, dtype=torch.float32)[:, None]
    factors = (state.program.constant(found[name]) for name in ("scale", "bias"))
    scale, bias = (factor for factor in factors if factor is not None)
    falls, first = _turns(state, way, sums * scale + bias)
    # Falling, the sign is +1 up to the sum before first: for the negated sums, from the negative of that on.
    least = np.where(falls, terms - first + 1, first - terms).astype(np.int32)
    weights = np.where(falls, -1, 1).astype(np.int8)[:, None, None, None] * weights
    x = _signs(state, node)
    height, width, channels = map_shape(shape_of(node), way.rows)
    y = tensor_of_signs(f"{node.name}.signs.{len(state.nodes)}", height, width, channels)
    window, samples = _window(node, weights)
    layer = BinaryConv2d(y.name, (x.name,), y.name, weights, window, Thresholds(least), samples=samples)
    _add(state, layer, y)
    return y, (height, width, channels)


def _compared(state: Lowering, way: _Way) -> tuple[Tensor, Shape]:
    """The signs of int8 values."""
    value = state.operand(way.source)
    first_moves = list(itertools.takewhile(lambda node: node.target in lower_tokens.MOVES_OF_PLACES, way.nodes))
    for move in first_moves:
        state.values[move] = value = lower_tokens.move(state, move, value.tensor, Clamp(value.tensor.zero_point))
    x = state.plain(value, way.rows)
    rest = replace(way, nodes=way.nodes[len(first_moves) :])
    # As torch computes them, for a sign turns where rounding says.
    reals = (torch.arange(-128, 128) - x.zero_point).float() * torch.tensor(x.scale, dtype=torch.float32)
    falls, first = _turns(state, rest, reals[:, None].expand(-1, x.shape[2]))
    if falls.any():
        raise Refused(f"the sign of {way.source.name} turns from + to - as it grows")
    y = tensor_of_signs(f"{x.name}.signs.{len(state.nodes)}", *x.shape)
    _add(state, Sign(y.name, (x.name,), y.name, ByteThresholds((first - 128).astype(np.int16))), y)
    return y, x.shape


def _pooled(state: Lowering, pool: fx.Node, x: Tensor, shape: Shape) -> tuple[Tensor, Shape]:
    found = arguments(pool)
    if tuple(found["dilation"]) not in ((1,), (1, 1)) or found["ceil_mode"]:
        raise Refused("a max pool with dilation or ceil_mode")
    sizes = (found["kernel_size"], found["stride"] or found["kernel_size"], found["padding"])
    kernel, stride, padding = map(pair, sizes)
    height, width, channels = map_shape(shape_of(pool))
    y = tensor_of_signs(f"{pool.name}.signs.{len(state.nodes)}", height, width, channels)
    window, samples = window_of(kernel, stride, padding * 2), shape_of(pool)[0]
    _add(state, BinaryMaxPool2d(y.name, (x.name,), y.name, window, samples=samples), y)
    return y, (height, width, channels)


def _add(state: Lowering, node: Node, y: Tensor) -> None:
    state.add(node, y, y.shape)


# -- where signs turn --------------------------------------------------------------------------------------


def _turns(state: Lowering, way: _Way, values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For every channel whether the sign falls from + to - as values (steps, channels) go on, and the step where it
    turns: the first of the other sign, as many as there are steps where it never does.
    """
    befores = []
    for node in way.nodes:
        if node.target is aten.max_pool2d.default:
            befores.append(values)
        elif node.target in lower_tokens.MOVES_OF_PLACES:
            raise Refused(f"{node.name} moves values on their way to a sign")
        else:
            values = _evaluated(state, node, values, way.rows)
    if len(way.shift) != values.shape[1]:
        raise Refused("its shift differs from position to position")
    positive = (values + way.shift >= 0).numpy()
    for before in befores:
        order = before.numpy().argsort(axis=0, kind="stable")
        if (np.diff(np.take_along_axis(positive, order, 0).astype(np.int8), axis=0) < 0).any():
            raise Refused("what follows a max pool does not grow with it")
    changes = np.diff(positive.astype(np.int8), axis=0)
    if (np.abs(changes).sum(axis=0) > 1).any():
        raise Refused("a sign on its way turns more than once: it is not a comparison with one number")
    falls = (changes < 0).any(axis=0)
    first = np.where(falls, positive.sum(axis=0), (~positive).sum(axis=0))
    return np.asarray(falls), first


def _evaluated(state: Lowering, node: fx.Node, values: torch.Tensor, rows: bool) -> torch.Tensor:
    """A pointwise operator on (steps, channels), as it broadcasts over the program's own layout."""
    rank = len(shape_of(node))
    x = (
        values[:, :, None, None]
        if rank == 4 and not rows
        else values.reshape(-1, *(1,) * max(1, rank - 2), values.shape[1])
    )

    def operand(used: fx.Node) -> torch.Tensor:
        constant = state.program.constant(used)
        return x if constant is None else constant

    result: torch.Tensor = run_node(node, operand)
    if result.shape != x.shape:
        raise Refused(f"{node.name} differs from position to position")
    return result.reshape(values.shape)


# -- layers --------------------------------------------------------------------------------------------


def _weights(state: Lowering, node: fx.Node) -> Int8:
    """The weights as signs (out, kernel H, kernel W, in)."""
    found = arguments(node)
    packed, shift = (state.program.constant(found[name]) for name in ("weight", "shift"))
    if packed is None or shift is None or any(state.program.constant(found[n]) is None for n in ("scale", "bias")):
        raise Refused("its weight or factors are computed at run time")
    signs = unpack(packed, len(shift)).to(torch.int8).numpy()
    signs = signs[:, None, None, :] if node.target is BINARY_LINEAR else signs
    if signs[0].size > binary.LARGEST_SUM:
        raise Refused(f"{signs[0].size} products a sum: {binary.LARGEST_SUM} at most")
    return signs


def _window(node: fx.Node, weights: Int8) -> tuple[Window, int]:
    """A layer's window, and how many maps it goes over one by one."""
    if _rows(node):
        return Window(), 1
    found = arguments(node)
    if tuple(found["dilation"]) != (1, 1):
        raise Refused(f"dilation {tuple(found['dilation'])}: the kernels have 1")
    window = window_of((weights.shape[1], weights.shape[2]), tuple(found["stride"]), tuple(found["padding"]) * 2)
    return window, 1 if window == Window() else shape_of(node)[0]
