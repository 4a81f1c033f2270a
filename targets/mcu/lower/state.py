"""What the lowering of every operator works with: the values so far, and how they lie in memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.errors import Placement
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.kernels.mcu.reference import Window
from edgeopt.ops.quantize import DEQUANTIZE
from edgeopt.quant.codebook import ELEMENTS
from edgeopt.quant.float4 import Element
from edgeopt.targets.mcu.graph.strides import Strides, canonical, in_order, merged, refined, strides
from edgeopt.targets.mcu.graph.tensor import Shape, Tensor
from edgeopt.targets.mcu.nodes.copy import Copy, Piece
from edgeopt.targets.mcu.nodes.node import Node
from edgeopt.targets.mcu.nodes.view import View

COPY_DIMENSIONS = 4
"""Dimensions that the copying kernel has."""
PIECES = 64
"""Calls of it that a copy may be."""


class Refused(Exception):
    """A node that no kernel takes; the text is the reason."""


@dataclass(frozen=True)
class Value:
    """An integer tensor as the program sees it: its ``shape`` there, zeros still to be put around it.

    ``places`` say which byte of the tensor each value is; None where that is the order in which kernels have it.
    """

    tensor: Tensor
    shape: tuple[int, ...]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    places: torch.Tensor | None = None

    def all_places(self) -> torch.Tensor:
        """The places, whether in the kernels' order or not."""
        return canonical(self.shape) if self.places is None else self.places


@dataclass
class Lowering:
    """A program on its way: ``values`` of its nodes, the integer ``nodes`` made so far, what was ``refused``.

    ``signs``: packed signs, by the node and the shift that they are taken of, and whether along its last dimension.
    """

    program: Program
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    signs: dict[tuple[fx.Node, fx.Node, bool], Tensor] = field(default_factory=dict)
    covered: set[fx.Node] = field(default_factory=set)
    refused: list[Placement] = field(default_factory=list)

    def operand(self, node: Any) -> Value:
        """The value of an operand; refused where it is not there as integers."""
        if node not in self.values:
            raise Refused("it reads a value that is not quantized")
        return self.values[node]

    def add(self, node: Node, tensor: Tensor, shape: tuple[int, ...], places: torch.Tensor | None = None) -> Value:
        """Add a node that makes ``tensor``, and return its result."""
        self.tensors[tensor.name] = tensor
        self.nodes.append(node)
        return Value(tensor, shape, places=places)

    def plain(self, value: Value, rows: bool = False) -> Tensor:
        """The tensor of an operand in the kernels' order, brought into it where it is not; padding is refused.

        With ``rows`` maps too lie as the program has them, so that the last dimension is one of neighbors.
        """
        if any(value.padding):
            raise Refused("it reads padded values: only convolutions take padding")
        wanted = in_order(value.shape) if rows else canonical(value.shape)
        shape, x = map_shape(value.shape, rows), value.tensor
        if wanted.numel() == x.size and torch.equal(value.all_places(), wanted):
            return self.viewed(x, shape)
        tensor = Tensor(f"{x.name}.{len(self.nodes)}", shape, x.scale, x.zero_point)
        pieces = copied(value.all_places(), wanted)
        self.add(Copy(tensor.name, (x.name,) * len(pieces), tensor.name, pieces, shape), tensor, value.shape)
        return tensor

    def viewed(self, x: Tensor, shape: Shape) -> Tensor:
        """The bytes of a tensor under another shape."""
        if x.shape == shape:
            return x
        tensor = Tensor(f"{x.name}.{len(self.nodes)}", shape, x.scale, x.zero_point)
        self.add(View(tensor.name, (x.name,), tensor.name, shape), tensor, shape)
        return tensor

    def alike(self, values: Sequence[Value]) -> tuple[list[Tensor], torch.Tensor | None]:
        """Tensors in one order, whichever it is, and the places of a result in that order."""
        places = values[0].all_places()
        same = all(v.tensor.size == places.numel() and torch.equal(v.all_places(), places) for v in values)
        if same and not torch.equal(places, canonical(values[0].shape)) and not any(any(v.padding) for v in values):
            return [value.tensor for value in values], places
        return [self.plain(value) for value in values], None

    def is_stored(self, node: fx.Node) -> bool:
        """Whether a node is a constant that is stored as integers."""
        return node.target is DEQUANTIZE and self.program.constant(node.args[0]) is not None

    def constant(self, node: fx.Node | None) -> tuple[np.ndarray, np.ndarray]:
        """Integers and scale of a dequantized constant."""
        if node is None or not self.is_stored(node):
            raise Refused("its weight or bias is not a quantized constant")
        q, scale = (self.program.constants[constant.name] for constant in node.all_input_nodes[:2])
        return q.numpy(), scale.double().numpy()

    def has_zero_points(self, node: fx.Node) -> bool:
        """Whether the integers of a dequantized constant stand around anything but 0."""
        return bool(self.program.constants[node.all_input_nodes[2].name].any())

    def element(self, node: fx.Node) -> Element | None:
        """The 4-bit format of a dequantized constant, None for all of int8."""
        return ELEMENTS[name] if (name := arguments(node)["element"]) else None


def copied(source: torch.Tensor, target: torch.Tensor) -> tuple[Piece, ...]:
    """Copies from places to places: one, or several where the kernel has too few dimensions for one."""
    shape = refined(source)
    source, target = source.reshape(shape), target.reshape(shape)
    order = sorted(range(target.dim()), key=lambda d: -_step(target, d))
    taken, put = strides(source.permute(order)), strides(target.permute(order))
    if taken is None or put is None:
        raise Refused("it reads values that are not evenly apart")
    return tuple(_pieces(*merged(taken, put)))


def _pieces(taken: Strides, put: Strides) -> Iterator[Piece]:
    """The outermost dimensions that the kernel has not, one copy after another."""
    outer = taken.sizes[:-COPY_DIMENSIONS]
    if math.prod(outer) > PIECES or max(taken.sizes) > 65535:
        raise Refused(
            f"it moves values in the dimensions {taken.sizes}: the kernel has {COPY_DIMENSIONS} of 65535,"
            f" and runs {PIECES} times at most"
        )
    for index in itertools.product(*map(range, outer)):
        yield Piece(_inner(taken, index), _inner(put, index))


def _inner(strides: Strides, index: tuple[int, ...]) -> Strides:
    """What is left of strides at an index of their outermost dimensions."""
    start = sum(i * step for i, step in zip(index, strides.steps, strict=False))
    return Strides(strides.offset + start, strides.sizes[len(index) :], strides.steps[len(index) :])


def _step(places: torch.Tensor, dim: int) -> int:
    return int(places.select(dim, 1).min() - places.min()) if places.shape[dim] > 1 else 0


def map_shape(shape: tuple[int, ...], rows: bool = False) -> Shape:
    """(H, W, C) of a value of the program: of a batch of maps (N, C, H, W), one below the other.

    Of everything else, and with ``rows`` of maps too, the last two dimensions are W and C, and H is all before them.
    """
    if len(shape) == 4 and not rows:
        n, c, h, w = shape
        return n * h, w, c
    *before, w, c = (1, 1, *shape)
    return math.prod(before), w, c


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's value; dynamic dimensions count as one."""
    return tuple(int(size) if isinstance(size, int) else 1 for size in node.meta["val"].shape)


def same_map(x: Tensor, y: Tensor) -> Tensor:
    """``x``, refused where ``y`` has another scale or zero point."""
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        raise Refused("it moves values from one scale to another")
    return x


def window_of(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> Window:
    """A window that the kernels' geometry holds."""
    if max(*kernel, *stride) > 255:
        raise Refused(f"a window of {kernel[0]}x{kernel[1]}, stride {stride[0]}x{stride[1]}: at most 255")
    if any(pad >= size for pad, size in zip(padding, kernel * 2, strict=True)):
        raise Refused(f"padding {padding} around a window of {kernel[0]}x{kernel[1]}: less than the window")
    return Window(kernel, stride, padding)
