"""Maps and what is computed on them: convolutions, linears, sums, pools, padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import fx

from edgeopt.ir.nodes import aten
from edgeopt.ir.rewrite import arguments
from edgeopt.kernels.mcu import packing, reference
from edgeopt.kernels.mcu.reference import AddFactors, Clamp, Window
from edgeopt.ops.quantize import DEQUANTIZE
from edgeopt.quant.float4 import Element
from edgeopt.targets.mcu.graph.strides import canonical, in_order
from edgeopt.targets.mcu.graph.tensor import Tensor
from edgeopt.targets.mcu.lower.state import Lowering, Refused, Value, map_shape, same_map, shape_of, window_of
from edgeopt.targets.mcu.nodes.add import Add
from edgeopt.targets.mcu.nodes.avg_pool2d import AvgPool2d
from edgeopt.targets.mcu.nodes.conv2d import Conv2d
from edgeopt.targets.mcu.nodes.depthwise_conv2d import DepthwiseConv2d
from edgeopt.targets.mcu.nodes.linear import Linear
from edgeopt.targets.mcu.nodes.max_pool2d import MaxPool2d
from edgeopt.targets.mcu.nodes.node import Node

_BIAS_LIMIT = 2**30


def _factors(count: int) -> tuple[int, int]:
    """Height and width of a window over so many positions."""
    return next(((n, count // n) for n in range(1, 256) if count % n == 0 and count // n <= 255), (1, count))


def _weighted(
    state: Lowering, node: fx.Node, x: Tensor, y: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Element | None]:
    """Weights, bias and multiplier of a layer, and its 4-bit format."""
    found = arguments(node)
    weights, scale = state.constant(found["weight"])
    if weights[0].size > 32768 or max(*x.shape, *y.shape) > 65535:
        raise Refused(
            f"{weights[0].size} products a sum, sizes up to {max(*x.shape, *y.shape)}: 32768 and 65535 at most"
        )
    if weights.dtype != np.int8 or state.has_zero_points(found["weight"]):
        raise Refused("its weight is not symmetric int8: the kernels have no zero points of weights")
    bias = _bias(state, found["bias"], x.scale * np.broadcast_to(scale, len(weights)))
    largest = packing.largest_sum(weights, packing.fold_zero(weights, bias, x.zero_point))
    if largest >= 2**31:
        raise Refused(f"the sums of its products and bias reach {largest}: kernels add in int32, up to {2**31 - 1}")
    multiplier = reference.multiplier(x.scale * np.broadcast_to(scale, len(weights)) / y.scale)
    return weights, bias, multiplier.astype(np.int32), state.element(found["weight"])


def _bias(state: Lowering, node: fx.Node | None, scale: np.ndarray) -> np.ndarray:
    """Bias (int32) at the ``scale`` of the products that it is added to; a float one is rounded to it."""
    if node is None:
        return np.zeros(len(scale), np.int32)
    values = state.program.constant(node)
    if values is None:
        stored, own = state.constant(node)
        if stored.dtype == np.int32 and np.allclose(own, scale, rtol=1e-6, atol=0):
            return stored
        raise Refused("its bias is not stored at the scale of its products")
    integers = np.round(values.double().numpy() / scale)
    if np.abs(integers).max() > _BIAS_LIMIT:
        raise Refused("its bias does not fit int32 at the scale of its products")
    return np.asarray(integers, np.int32)


def maps(value: Value) -> int:
    """How many maps a value is that a window goes over one by one."""
    if len(value.shape) != 4:
        raise Refused(f"a window over {len(value.shape)} dimensions: the kernels go over maps (N, C, H, W)")
    return value.shape[0]


def conv2d(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """A convolution, with the padding that was put around its input."""
    found = arguments(node)
    value = state.operand(found["input"])
    samples = maps(value)
    x = state.plain(replace(value, padding=(0, 0, 0, 0)))
    if tuple(found["dilation"]) != (1, 1):
        raise Refused(f"dilation {tuple(found['dilation'])}: the kernels have 1")
    weights, bias, multiplier, element = _weighted(state, node, x, y)
    vertical, horizontal = found["padding"]
    padding = tuple(p + q for p, q in zip(value.padding, (vertical, horizontal) * 2, strict=True))
    window = window_of(weights.shape[2:], tuple(found["stride"]), padding)
    common = (node.name, (x.name,), y.name)
    if found["groups"] == 1:
        samples = 1 if window == Window() else samples
        kernels = weights.transpose(0, 2, 3, 1)
        lowered: Node = Conv2d(
            *common, kernels, bias, multiplier, x.zero_point, clamp, window, samples=samples, element=element
        )
    elif found["groups"] == x.shape[2] == len(weights):
        lowered = DepthwiseConv2d(
            *common, weights[:, 0], bias, multiplier, x.zero_point, clamp, window, samples=samples
        )
    else:
        raise Refused(f"{found['groups']} groups: the kernels have one, or one for each channel")
    return state.add(lowered, y, shape_of(node))


def linear(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """A linear: of flattened maps, its weights in the order of their bytes, or of every position."""
    value = state.operand(arguments(node)["input"])
    order = None if any(value.padding) else _common_order(value)
    y = replace(y, shape=map_shape(shape_of(node), rows=True))
    if order is None:
        x = state.plain(value, rows=True)
    elif y.size == y.shape[2]:
        x = value.tensor  # a single vector, whatever the shape of its map
    else:
        x = state.viewed(value.tensor, map_shape(value.shape, rows=True))
    weights, bias, multiplier, element = _weighted(state, node, x, y)
    weights = weights if order is None else weights[:, order]
    common = (node.name, (x.name,), y.name)
    if y.size == y.shape[2]:
        layer = Linear(*common, weights, bias, multiplier, x.zero_point, clamp, element=element)
        return state.add(layer, y, shape_of(node))
    pointwise = weights[:, None, None, :]  # a vector for each position: a convolution of one pixel
    lowered = Conv2d(*common, pointwise, bias, multiplier, x.zero_point, clamp, Window(), element=element)
    return state.add(lowered, y, shape_of(node), in_order(shape_of(node)))


def _common_order(value: Value) -> np.ndarray | None:
    """The order in which every row of a tensor has its values, None where it has others or each has its own."""
    rows = value.all_places().reshape(-1, value.shape[-1])
    order = rows[0].argsort()
    complete = value.tensor.size == rows.numel()
    alike = complete and torch.equal(rows[:, order], in_order(rows.shape))
    return order.numpy() if alike else None


def sum_(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """A sum of two activations, or of one and a stored constant."""
    found = arguments(node)
    operands = [found["self"], found["other"]]
    if not all(isinstance(value, fx.Node) for value in operands):
        raise Refused("it adds a number")
    constants = [
        value for value in operands if value.target is DEQUANTIZE and state.program.constant(value.args[0]) is not None
    ]
    values = [state.operand(value) for value in operands if value not in constants]
    if found["alpha"] != 1 or len({value.shape for value in values} | {shape_of(node)}) > 1:
        raise Refused("it broadcasts or scales an operand")
    tensors, places = state.alike(values)
    y = replace(y, shape=tensors[0].shape)
    stored = None
    affines = [(x.scale, x.zero_point) for x in tensors]
    for constant in constants:
        if constant.meta["val"].shape != node.meta["val"].shape:
            raise Refused("it broadcasts or scales an operand")
        stored = np.empty(y.size, np.int8)
        order = canonical(shape_of(node)) if places is None else places
        stored[order.reshape(-1).numpy()] = state.program.constants[constant.args[0].name].reshape(-1).numpy()
        scale, zero_point = (state.program.constants[constant.args[i].name].item() for i in (1, 2))
        affines.append((float(scale), int(zero_point)))
    factors = AddFactors.of(*affines[0], *affines[1], y.scale, y.zero_point)
    inputs = tuple(x.name for x in tensors)
    return state.add(Add(node.name, inputs, y.name, factors, clamp.low, clamp.high, stored), y, shape_of(node), places)


def mean(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """A mean over windows of a map, over all of it, or over all positions."""
    found = arguments(node)
    value = state.operand(found["self"])
    x = state.plain(value)
    if node.target is aten.mean.dim and len(value.shape) == 3:
        samples, (height, width) = value.shape[0], _factors(value.shape[1])
        x = state.viewed(x, (samples * height, width, value.shape[2]))
    else:
        samples = maps(value)
    size = kernel = stride = x.shape[0] // samples, x.shape[1]
    if node.target is aten.avg_pool2d.default:
        if any(found["padding"]) or found["ceil_mode"] or found["divisor_override"]:
            raise Refused("an average pool with padding, ceil_mode or divisor_override")
        kernel = tuple(found["kernel_size"])
        stride = tuple(found["stride"]) or kernel
    elif node.target is aten.mean.dim:
        rank = node.all_input_nodes[0].meta["val"].dim()
        if sorted(d % rank for d in found["dim"]) != {4: [2, 3], 3: [1]}.get(rank):
            raise Refused("a mean over other dimensions than height and width, or the positions")
    else:
        if any(whole % out for whole, out in zip(size, found["output_size"], strict=True)):
            raise Refused("an adaptive pool whose windows differ in size")
        kernel = stride = tuple(whole // out for whole, out in zip(size, found["output_size"], strict=True))
    if kernel[0] * kernel[1] > 32768:
        raise Refused(f"a mean over {kernel[0] * kernel[1]} values: at most 32768")
    # 16 times the sum, so that the scale may exceed a half.
    multiplier = int(reference.multiplier(x.scale / y.scale / (16 * kernel[0] * kernel[1])))
    window = window_of(kernel, stride)
    pool = AvgPool2d(node.name, (x.name,), y.name, window, multiplier, x.zero_point, clamp, samples=samples)
    return state.add(pool, y, shape_of(node))


def max_pool(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """The largest value of each window."""
    found = arguments(node)
    value = state.operand(found["self"])
    x = same_map(state.plain(value), y)
    if tuple(found["dilation"]) not in ((1,), (1, 1)) or found["ceil_mode"]:
        raise Refused("a max pool with dilation or ceil_mode")
    kernel, stride = tuple(found["kernel_size"]), tuple(found["stride"])
    window = window_of(kernel, stride or kernel, tuple(found["padding"]) * 2)
    pool = MaxPool2d(node.name, (x.name,), y.name, window, clamp.low, clamp.high, samples=maps(value))
    return state.add(pool, y, shape_of(node))


def pad(state: Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> Value:
    """Zeros around a map: for the convolution that reads it."""
    found = arguments(node)
    value = state.operand(found["self"])
    same_map(value.tensor, y)
    if found["mode"] != "constant" or found["value"] or len(found["pad"]) > 4 or min(found["pad"]) < 0:
        raise Refused("padding other than by zeros at the edges of a map")
    left, right, top, bottom = (*found["pad"], 0, 0)[:4]
    padding = tuple(p + q for p, q in zip(value.padding, (top, left, bottom, right), strict=True))
    return replace(value, padding=padding)
