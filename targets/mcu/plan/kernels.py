"""Which kernel runs each node, with which constants, scratch and sharing of memory: the program as a board sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgeopt.kernels import mcu as kernels
from edgeopt.kernels.mcu import Kernel, binary, overlap, packing, packing_codes
from edgeopt.targets.mcu.graph.binary import BinaryConv2d, Sign
from edgeopt.targets.mcu.graph.graph import (
    Add,
    Attention,
    AvgPool2d,
    Conv2d,
    Copy,
    DepthwiseConv2d,
    Generated,
    IntegerGraph,
    Linear,
    MatMul,
    Node,
    Norm,
    Softmax,
    Table,
    View,
)
from edgeopt.targets.mcu.plan.first_fit import Sharing

PRECISIONS = {"s8": "int8", "s8pow2": "int8", "w4": "w4a8", "b1": "binary"}
"""What kernels compute in, by their type of weights."""

MODES = ("speed", "balanced", "size")


@dataclass(frozen=True, eq=False)
class CodeTable:
    """What codes of one 4-bit format are looked up in, as the kernels of one instruction set do: a name, one table."""

    name: str
    words: np.ndarray


@dataclass(frozen=True, eq=False)
class Step:
    """One call: the node, its kernel (None: generated code), its constant block, and what it asks of memory.

    ``table``: what the codes of its weights are looked up in.
    """

    node: Node
    kernel: Kernel | None
    packed: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    scratch_bytes: int = 0
    overread: int = 0
    sharings: tuple[Sharing, ...] = ()
    table: CodeTable | None = None

    @property
    def symbol(self) -> str:
        """Name of the C function."""
        return self.kernel.symbol if self.kernel else f"generated_{self.node.name}"

    @property
    def isa(self) -> str:
        """The instruction set of the kernel; generated code is plain C."""
        return self.kernel.isa if self.kernel else "scalar"

    @property
    def precision(self) -> str:
        """What the layer computes in."""
        return PRECISIONS[self.kernel.dtype] if self.kernel else "fp32"

    @property
    def constant_bytes(self) -> int:
        """Bytes of constants in flash."""
        own = sum(array.nbytes for array in self.node.code.constants) if isinstance(self.node, Generated) else 0
        return self.packed.nbytes + own

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return self.node.inputs

    @property
    def writes(self) -> tuple[str, ...]:
        """Names of the tensors that it writes."""
        return (self.node.output,)

    @property
    def scratch(self) -> str:
        """Name of the step's scratch buffer."""
        return f"{self.node.name}.scratch"


def choose_kernels(
    graph: IntegerGraph, isas: Sequence[str], mode: str = "speed", flash_bytes: int | None = None
) -> list[Step]:
    """Choose a kernel for each node.

    ``isas``: what the core has, the fastest first. ``mode`` says what becomes of weights that may be pre-expanded to
    int16: ``speed`` expands all, ``size`` none, ``balanced`` those that save most instructions a byte while all
    constants stay within ``flash_bytes``.
    """
    compact = [isa for isa in isas if isa != "dsp16"]
    nodes = [node for node in graph.nodes if not isinstance(node, View)]
    steps = [_bound(graph, node, compact) for node in nodes]
    if "dsp16" not in isas or mode == "size":
        return steps
    expanded = [_bound(graph, node, isas) for node in nodes]
    if mode == "speed":
        return expanded
    budget = (flash_bytes or 0) - sum(step.packed.nbytes for step in steps)
    for i in sorted(range(len(steps)), key=lambda i: -_gain(graph, steps[i], expanded[i])):
        extra = expanded[i].packed.nbytes - steps[i].packed.nbytes
        if extra <= budget:
            budget -= extra
            steps[i] = expanded[i]
    return steps


def _gain(graph: IntegerGraph, compact: Step, expanded: Step) -> float:
    """Multiply-accumulates made cheaper for a byte of flash."""
    extra = expanded.packed.nbytes - compact.packed.nbytes
    return graph.macs(compact.node) / extra if extra > 0 else 0.0


def _bound(graph: IntegerGraph, node: Node, isas: Sequence[str]) -> Step:
    """The call of a node; what a kernel may write over is told for one sample, so that of several nothing is."""
    step = _step(graph, node, isas)
    return step if node.samples == 1 else replace(step, sharings=())


def _step(graph: IntegerGraph, node: Node, isas: Sequence[str]) -> Step:
    if isinstance(node, Generated):
        return Step(node, None, scratch_bytes=node.code.scratch_bytes)
    y = graph.part(node, node.output).shape
    x = graph.part(node, node.inputs[0]).shape if node.inputs else y
    have = {k.isa for k in kernels.inventory() if (k.dtype, k.op) == (node.dtype, node.op)}
    fitting = [isa for isa in (*isas, "scalar") if isa in have and _takes(node, isa, x)]
    kernel = Kernel(node.dtype, node.op, fitting[0])
    isa, source, target = kernel.isa, (*node.inputs, node.output)[0], node.output
    match node:
        case Conv2d() | Linear() if node.element is not None:
            return _coded(graph, node, kernel)
        case BinaryConv2d():
            outputs, *_, inputs = node.weights.shape
            scratch = binary.conv2d_scratch(isa, node.window, inputs, outputs)
            return Step(node, kernel, binary.pack_conv2d(isa, node.weights, node.end), scratch)
        case Sign():
            over = binary.sign_overread(isa, x[2])
            shares = _shares(source, target, 0, exact=True) if x[2] >= 4 else ()
            return Step(node, kernel, node.thresholds.pack(), overread=over, sharings=shares)
        case Conv2d():
            shares = _shares(source, target, overlap.conv2d_distance(isa, node.window, x, y))
            row = node.window.kernel[1] * x[2]
            return Step(
                node, kernel, node.packed(isa, packing.pack_conv2d),
                overlap.conv2d_scratch(isa, node.window, x, y, node.residual is not None),
                overlap.overread("conv2d", isa, row * node.window.kernel[0], row),
                () if node.residual else shares,
            )  # fmt: skip
        case DepthwiseConv2d():
            distance = overlap.depthwise_distance(isa, node.window, x, y)
            return Step(
                node, kernel, node.packed(isa, packing.pack_depthwise_conv2d),
                overlap.depthwise_scratch(isa, node.window, x, y),
                overlap.overread("depthwise_conv2d", isa, x[2], x[2]),
                _shares(source, target, distance, exact=isa != "scalar"),
            )  # fmt: skip
        case Linear():
            packed = node.packed(isa, packing.pack_linear)
            n = node.weights.shape[1]
            return Step(node, kernel, packed, overread=overlap.overread("linear", isa, n, n))
        case AvgPool2d():
            count = node.window.kernel[0] * node.window.kernel[1]
            packed = np.array([-node.in_zero * count, node.multiplier], np.int32)
            return Step(node, kernel, packed, overread=overlap.overread("avg_pool2d", isa, x[2], x[2]))
        case Softmax():
            return Step(node, kernel, node.table.view(np.int32), sharings=_shares(source, target, 0, exact=True))
        case MatMul():
            depth, columns = node.b.sizes[1:]
            over = overlap.overread("matmul", isa, depth, depth)
            return Step(node, kernel, scratch_bytes=overlap.matmul_scratch(isa, depth, columns), overread=over)
        case Attention():
            same = (
                not node.over
                and all(node.scores.a.steps[i] == node.mix.y.steps[i] for i in (0, 1))
                and node.scores.a.offset == 0
            )
            scratch = overlap.attention_scratch(isa, *node.scores.b.sizes[1:], node.mix.b.sizes[2])
            return Step(
                node, kernel, node.softmax.table.view(np.int32), scratch,
                overlap.overread("attention", isa, 0, 0), _shares(source, target, 0, exact=True) if same else (),
            )  # fmt: skip
        case Norm():
            pairs = np.stack([node.factors.multiplier, node.factors.bias], axis=1).reshape(-1)
            return Step(node, kernel, pairs, sharings=_shares(source, target, 0, exact=True))
        case Copy():
            constants = [_words(piece.constant) for piece in node.pieces if piece.constant is not None]
            return Step(node, kernel, np.concatenate([np.zeros(0, np.int32), *constants]))
        case Add(constant=constant) if constant is not None:
            return Step(node, kernel, _words(constant), sharings=_shares(source, target, 0, exact=True))
        case Table():
            return Step(node, kernel, node.entries.view(np.int32), sharings=_shares(source, target, 0, exact=True))
    both = [s for name in node.inputs for s in _shares(name, target, 0, exact=True)] if node.op == "add" else []
    return Step(node, kernel, sharings=tuple(both))


def _coded(graph: IntegerGraph, node: Conv2d | Linear, kernel: Kernel) -> Step:
    """The call of a layer whose weights are codes."""
    assert node.element is not None
    isa = kernel.isa
    table = CodeTable(f"codes_{node.element.name}_{isa}", packing_codes.pack_table(isa, node.numbers))
    parameters = (isa, node.weights, node.numbers, node.folded_bias, node.multiplier)
    if isinstance(node, Linear):
        over = overlap.overread("linear", isa, node.weights.shape[1], node.weights.shape[1])
        return Step(node, kernel, packing_codes.pack_linear(*parameters), overread=over, table=table)
    x, y = (graph.part(node, name).shape for name in (node.inputs[0], node.output))
    row = node.window.kernel[1] * x[2]
    distance = overlap.coded_conv2d_distance(isa, node.window, x, y)
    return Step(
        node, kernel, packing_codes.pack_conv2d(*parameters),
        overlap.coded_conv2d_scratch(isa, node.window, x, y, node.residual is not None),
        overlap.overread("conv2d", isa, row * node.window.kernel[0], row),
        () if node.residual else _shares(node.inputs[0], node.output, distance),
        table,
    )  # fmt: skip


def _words(values: np.ndarray) -> np.ndarray:
    """Bytes as words, with zeros up to a multiple of four."""
    return np.pad(values.reshape(-1), (0, -values.size % 4)).astype(np.int8).view(np.int32)


def _takes(node: Node, isa: str, x: tuple[int, int, int]) -> bool:
    return not isinstance(node, DepthwiseConv2d) or overlap.supports_depthwise(isa, node.window, x[2])


def _shares(source: str, target: str, distance: int, exact: bool = False) -> tuple[Sharing, ...]:
    return (Sharing(source, target, distance, exact),)
