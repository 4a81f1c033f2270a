"""A network in integers only: what the planner places and the printer prints.

Tensors are int8 of shape (H, W, C); a vector of n is (1, 1, n), and a batch of maps is one below the other.
``IntegerGraph.run`` is the reference that the C library equals bit by bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeopt.kernels.mcu import packing, reference
from edgeopt.kernels.mcu.reference import AddFactors, Clamp, NormFactors, Window
from edgeopt.quant.float4 import Element
from edgeopt.targets.mcu.graph.tensor import Shape, Tensor, part_of

if TYPE_CHECKING:
    from edgeopt.targets.mcu.tvm.generate import Code
    from edgeopt.targets.mcu.tvm.region import RegionModule


@dataclass(frozen=True, eq=False)
class Node(ABC):
    """An operator: ``inputs`` and ``output`` are names of tensors.

    ``samples``: so many equal parts of every operand, one after another in memory, are computed one by one.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    samples: int = field(default=1, kw_only=True)

    @property
    def dtype(self) -> str:
        """The kernel's type of weights, as in ``kernels.inc``."""
        return "s8"

    @property
    def op(self) -> str:
        """The kernel's operator, as in ``kernels.inc``."""
        return KERNEL_OPS[type(self)]

    @property
    def products(self) -> int:
        """Products a position of the output."""
        return 0

    @abstractmethod
    def run(self, *operands: np.ndarray) -> np.ndarray:
        """The output of one sample for int8 operands (H, W, C)."""

    def run_all(self, *operands: np.ndarray) -> np.ndarray:
        """The output of all samples, one below the other."""
        if self.samples == 1:
            return self.run(*operands)
        parts = (x.reshape(self.samples, *part_of(x.shape, self.samples)) for x in operands)
        return np.concatenate([self.run(*sample) for sample in zip(*parts, strict=True)])


@dataclass(frozen=True, eq=False)
class Weighted(Node):
    """A layer with weights: bias and multiplier int32, one an output channel; bias without the zero-point term.

    ``element``: the 4-bit format of its weights, where these are stored as codes. ``shifts``: its multipliers are
    powers of two, and its kernel shifts.
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    in_zero: int
    clamp: Clamp
    element: Element | None = field(default=None, kw_only=True)
    shifts: bool = field(default=False, kw_only=True)

    @property
    def dtype(self) -> str:
        """The kernel's type of weights: int8, int8 with scales that are powers of two, or codes of four bits."""
        if self.element is not None:
            return "w4"
        return "s8pow2" if self.shifts else "s8"

    def packed(self, isa: str, pack: Callable[..., np.ndarray]) -> np.ndarray:
        """The constant block, by ``pack`` where it is requantized by a multiplication."""
        parameters = (self.weights, self.folded_bias, self.multiplier)
        return packing.pack_shifts(*parameters) if self.shifts else pack(isa, *parameters)

    @property
    def numbers(self) -> np.ndarray:
        """The sixteen integers of its 4-bit format by code."""
        assert self.element is not None
        return self.element.table().numpy().astype(np.int8)

    @property
    def products(self) -> int:
        """Products a position of the output."""
        return self.weights.size

    @property
    def folded_bias(self) -> np.ndarray:
        """``bias - in_zero * sum(weights)``, as the kernels want it."""
        return packing.fold_zero(self.weights, self.bias, self.in_zero).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Add(Node):
    """Elementwise sum of two tensors of one shape, or of one and a constant."""

    factors: AddFactors
    low: int = -128
    high: int = 127
    constant: np.ndarray | None = None

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Add two maps."""
        a, b = operands if self.constant is None else (*operands, self.constant)
        return reference.add(a, b.reshape(a.shape), self.factors, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Conv2d(Weighted):
    """Convolution, weights (out, kernel H, kernel W, in); with ``residual`` a second input is added to its result."""

    window: Window
    residual: Add | None = None

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Convolve a map, and add the second one."""
        x, *other = operands
        y = reference.conv2d(x, self.weights, self.bias, self.multiplier, self.window, self.in_zero, self.clamp)
        return y if self.residual is None else self.residual.run(y, *other)


@dataclass(frozen=True, eq=False)
class DepthwiseConv2d(Weighted):
    """One filter a channel, weights (channels, kernel H, kernel W)."""

    window: Window

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Filter a map, channel by channel."""
        (x,) = operands
        return reference.depthwise_conv2d(
            x, self.weights, self.bias, self.multiplier, self.window, self.in_zero, self.clamp
        )


@dataclass(frozen=True, eq=False)
class Linear(Weighted):
    """Fully connected layer, weights (out, in), of the flattened input."""

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Multiply a flattened map."""
        (x,) = operands
        y = reference.linear(x.reshape(-1), self.weights, self.bias, self.multiplier, self.in_zero, self.clamp)
        return y.reshape(1, 1, -1)


@dataclass(frozen=True)
class Strides:
    """Where values lie in a tensor: ``offset``, and for each dimension its size and step, in bytes."""

    offset: int
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def of(self, x: np.ndarray) -> np.ndarray:
        """The values, as an array of ``sizes`` over the memory of ``x``."""
        flat = np.ascontiguousarray(x).reshape(-1)[self.offset :]
        return np.lib.stride_tricks.as_strided(flat, self.sizes, self.steps)


@dataclass(frozen=True, eq=False)
class MatMul(Node):
    """Products of two activations: ``a`` (batch, rows, depth) and ``b`` (batch, depth, columns), of zero point 0."""

    a: Strides
    b: Strides
    y: Strides
    shape: Shape
    multiplier: int
    a_zero: int
    clamp: Clamp

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Multiply the matrices of two tensors."""
        left, right = operands
        y = np.empty(self.shape, np.int8)
        products = reference.matmul(self.a.of(left), self.b.of(right), self.multiplier, self.a_zero, self.clamp)
        self.y.of(y)[...] = products
        return y


@dataclass(frozen=True, eq=False)
class Softmax(Node):
    """Softmax over the last axis; ``table`` is ``reference.exp_table`` of the input's scale."""

    table: np.ndarray

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Normalize the last axis."""
        (x,) = operands
        return reference.softmax(x, self.table)


@dataclass(frozen=True, eq=False)
class Attention(Node):
    """Scores, softmax and configuration at once: inputs are queries, keys and values.

    One of a single head, ``over`` its queries, leaves the other heads' queries in the output as they are.
    """

    scores: MatMul
    softmax: Softmax
    mix: MatMul
    over: bool = False

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Attend."""
        q, k, v = operands
        mixed = self.mix.run(self.softmax.run(self.scores.run(q, k)), v)
        if not self.over:
            return mixed
        y = q.copy()
        self.mix.y.of(y)[...] = self.mix.y.of(mixed)
        return y


@dataclass(frozen=True, eq=False)
class Norm(Node):
    """Layer norm or RMS norm over the channels."""

    factors: NormFactors
    in_zero: int
    clamp: Clamp

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Normalize every position."""
        (x,) = operands
        return reference.norm(x, self.factors, self.in_zero, self.clamp)


@dataclass(frozen=True)
class Piece:
    """What a copy takes and where it puts it; from ``constant`` where there is one, else from the next input."""

    source: Strides
    target: Strides
    constant: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Copy(Node):
    """Values brought into another order, or several tensors into one."""

    pieces: tuple[Piece, ...]
    shape: Shape

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Copy every piece."""
        y, left = np.empty(self.shape, np.int8), iter(operands)
        for piece in self.pieces:
            piece.target.of(y)[...] = piece.source.of(next(left) if piece.constant is None else piece.constant)
        return y


@dataclass(frozen=True, eq=False)
class View(Node):
    """The bytes of its input under another shape: nothing to do."""

    shape: Shape

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Reshape."""
        (x,) = operands
        return x.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class AvgPool2d(Node):
    """Mean over windows without padding; ``multiplier`` is that of 16 times the sum."""

    window: Window
    multiplier: int
    in_zero: int
    clamp: Clamp

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Average windows of a map."""
        (x,) = operands
        return reference.avg_pool2d(x, self.multiplier, self.window, self.in_zero, self.clamp)


@dataclass(frozen=True, eq=False)
class MaxPool2d(Node):
    """Maximum over windows; scale and zero point stay."""

    window: Window
    low: int = -128
    high: int = 127

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Find the largest of each window."""
        (x,) = operands
        return reference.max_pool2d(x, self.window, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Table(Node):
    """Any function of single values, as its 256 results from -128 on."""

    entries: np.ndarray

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Look every value up."""
        (x,) = operands
        return reference.table(x, self.entries)


@dataclass(frozen=True, eq=False)
class Generated(Node):
    """A region that stays in float inside, compiled by TVM.

    ``module`` is its reference, in torch: the C rounds in another order, so that a result may be one step off.
    """

    module: RegionModule
    code: Code
    shape: Shape

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Evaluate the region in torch."""
        return self.module.run(*operands).reshape(self.shape)


KERNEL_OPS: Mapping[type[Node], str] = {
    Conv2d: "conv2d", DepthwiseConv2d: "depthwise_conv2d", Linear: "linear", Add: "add",
    AvgPool2d: "avg_pool2d", MaxPool2d: "max_pool2d", Softmax: "softmax",
    Table: "table", Generated: "generated", MatMul: "matmul", Norm: "norm", Copy: "copy", View: "view",
    Attention: "attention",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class IntegerGraph:
    """Nodes in execution order over named tensors."""

    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All tensors by name, int8 (H, W, C), for the int8 inputs of one inference."""
        values = {name: inputs[name].reshape(self.tensors[name].shape) for name in self.inputs}
        for node in self.nodes:
            y = node.run_all(*(values[name] for name in node.inputs))
            values[node.output] = y.reshape(self.tensors[node.output].shape)
        return values

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of a node."""
        if isinstance(node, Attention):
            return self.macs(node.scores) + self.macs(node.mix)
        if isinstance(node, MatMul):
            return node.samples * int(np.prod(node.a.sizes)) * node.b.sizes[2]
        height, width, _ = self.tensors[node.output].shape
        return node.products * height * width

    def part(self, node: Node, tensor: str) -> Tensor:
        """What one call of a node sees of a tensor."""
        whole = self.tensors[tensor]
        return replace(whole, shape=part_of(whole.shape, node.samples))

    def users(self, tensor: str) -> list[int]:
        """Indices of the nodes that read a tensor."""
        return [i for i, node in enumerate(self.nodes) if tensor in node.inputs]
