"""The body of ``network_run``: every step as a call, loops around those that run tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt.kernels.mcu.binary import Requant
from edgeopt.kernels.mcu.reference import Clamp, Window
from edgeopt.targets.mcu.graph.binary import BinaryConv2d, BinaryMaxPool2d, Sign
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
    MaxPool2d,
    Norm,
    Softmax,
    Table,
)
from edgeopt.targets.mcu.graph.tensor import Tensor
from edgeopt.targets.mcu.plan.first_fit import Plan
from edgeopt.targets.mcu.plan.kernels import Step
from edgeopt.targets.mcu.plan.schedule import Loop, each_step


@dataclass(frozen=True)
class Layer:
    """A layer as the template prints it: constant tables, its lines of code, and a line about both."""

    tables: tuple[str, ...]
    code: tuple[str, ...]
    comment: str


class Memory:
    """What the arguments of a call are: of whole tensors."""

    def __init__(self, graph: IntegerGraph, plan: Plan) -> None:
        self.graph, self.plan = graph, plan

    def at(self, name: str) -> str:
        """Pointer to a tensor."""
        return f"AT({self.plan.offsets[name]})"

    def scratch(self, step: Step) -> str:
        """Pointer to a step's scratch."""
        return self.at(step.scratch) if step.scratch_bytes else "NULL"

    def rows(self, x: Tensor) -> str:
        """Number of positions."""
        return str(x.shape[0] * x.shape[1])

    def count(self, x: Tensor) -> str:
        """Number of values."""
        return str(x.size)

    def window(self, index: int) -> str:
        """Pointer to a layer's window."""
        return f"&window_{index}"

    def stored(self, index: int, x: Tensor) -> str:
        """Pointer to a layer's constants, which are as many as ``x`` has values."""
        return _int8(index)


class SampleMemory(Memory):
    """Of sample number ``sample`` of the tensors of a node."""

    def __init__(self, graph: IntegerGraph, plan: Plan, samples: int) -> None:
        super().__init__(graph, plan)
        self.samples = samples

    def at(self, name: str) -> str:
        """Pointer to the sample of a tensor."""
        if name not in self.graph.tensors:  # scratch, which every sample has in turn
            return super().at(name)
        return f"AT({self.plan.offsets[name]} + sample * {self.graph.tensors[name].size // self.samples})"


class TileMemory(Memory):
    """Of the positions ``at`` to ``at + n``: hidden tensors in the loop's scratch, all others a part of the whole."""

    def __init__(self, graph: IntegerGraph, plan: Plan, loop: Loop) -> None:
        super().__init__(graph, plan)
        self.loop = loop

    def at(self, name: str) -> str:
        """Pointer to the tile of a tensor."""
        if name in self.loop.inner.offsets:
            return f"AT({self.plan.offsets[self.loop.scratch] + self.loop.inner.offsets[name]})"
        return f"(int8_t *)AT({self.plan.offsets[name]}) + at * {self.graph.tensors[name].shape[2]}"

    def rows(self, x: Tensor) -> str:
        """Number of positions."""
        return "(size_t)n"

    def count(self, x: Tensor) -> str:
        """Number of values."""
        return f"(size_t)n * {x.shape[2]}"

    def window(self, index: int) -> str:
        """Pointer to the window of this tile."""
        return f"&tile_{index}"

    def stored(self, index: int, x: Tensor) -> str:
        """Pointer to the constants of this tile."""
        return f"{_int8(index)} + at * {x.shape[2]}"


def layers(graph: IntegerGraph, steps: Sequence[Step | Loop], plan: Plan) -> list[Layer]:
    """The layers in order; their tables and weights are numbered through the steps of all loops."""
    numbers = {id(step): i for i, step in enumerate(each_step(steps))}
    whole = Memory(graph, plan)
    return [
        _loop(graph, plan, step, numbers) if isinstance(step, Loop) else _layer(whole, numbers[id(step)], step)
        for step in steps
    ]


def _loop(graph: IntegerGraph, plan: Plan, loop: Loop, numbers: dict[int, int]) -> Layer:
    """The steps of a loop with a loop around them; the first one of a streamed input reads its rows."""
    memory = TileMemory(graph, plan, loop)
    inner = [_layer(memory, numbers[id(step)], step) for step in loop.steps]
    code: list[str] = []
    for step, layer in zip(loop.steps, inner, strict=True):
        i = numbers[id(step)]
        if loop.rows is None or step is not loop.steps[0]:
            windowed = isinstance(step.node, Conv2d | DepthwiseConv2d)
            code += [f"const eo_window tile_{i} = positions_of(&window_{i}, n);"] if windowed else []
        code += layer.code
    if loop.rows is None:
        head = f"for (int at = 0; at < {loop.positions}; at += {loop.tile}) {{"
        size = f"const int n = {loop.positions} - at < {loop.tile} ? {loop.positions} - at : {loop.tile};"
        body = [size, *code]
    else:
        first = numbers[id(loop.steps[0])]
        head = f"for (int row = 0, at = 0, n = {loop.tile}, end = 0; at < {loop.positions}; row++, at += n) {{"
        body = [
            f"const eo_window tile_{first} = row_of(&window_{first}, row);",
            f"end = read_rows(inputs, &window_{first}, row, end, {memory.at(loop.rows.tensor)});",
            "if (end < 0)",
            "    return NETWORK_READ_FAILED;",
            *code,
        ]
    comment = f"{loop.tile} positions at a time: " + "; ".join(layer.comment for layer in inner)
    tables = tuple(table for layer in inner for table in layer.tables)
    return Layer(tables, (head, *(f"    {line}" for line in body), "}"), comment)


def _layer(memory: Memory, index: int, step: Step) -> Layer:
    node, graph = step.node, memory.graph
    x, y = (graph.part(node, name) for name in ((*node.inputs, node.output)[0], node.output))
    macs = graph.macs(node)
    shapes = " -> ".join("x".join(map(str, tensor.shape)) for tensor in (x, y))
    times = f"{node.samples} times " if node.samples > 1 else ""
    comment = f"{node.name}: {node.op}, {times}{shapes}" + (f", {macs} MACs" if macs else "")
    if isinstance(node, Copy):
        tables, code = _copies(memory, index, step)
        return Layer(tuple(tables), tuple(code), comment)
    each = SampleMemory(graph, memory.plan, node.samples) if node.samples > 1 else memory
    tables, arguments = _call(each, index, step, x, y)
    call = f"{step.symbol}({', '.join(arguments)});"
    loop = f"for (int sample = 0; sample < {node.samples}; sample++)"
    return Layer(tuple(tables), (loop, f"    {call}") if node.samples > 1 else (call,), comment)


def _call(memory: Memory, index: int, step: Step, x: Tensor, y: Tensor) -> tuple[list[str], list[str]]:
    """Tables and arguments of a kernel."""
    node = step.node
    at = [memory.at(name) for name in (*node.inputs, node.output)]
    words = f"weights_{index}, {step.table.name}" if step.table else f"weights_{index}"
    match node:
        case Conv2d() | DepthwiseConv2d():
            tables = [_window(index, node, x.shape, y.shape)]
            arguments = [memory.window(index), at[0], words]
            if isinstance(node, Conv2d):
                tables += [_add(index, node.residual)] if node.residual else []
                arguments.append(f"&add_{index}" if node.residual else "NULL")
            return tables, [*arguments, at[-1], memory.scratch(step)]
        case Linear():
            shape = f"{node.weights.shape[1]}, {node.weights.shape[0]}"
            clamp = f"{node.clamp.zero}, {node.clamp.low}, {node.clamp.high}"
            table = f"static const eo_linear linear_{index} = {{{shape}, {clamp}}};"
            return [table], [f"&linear_{index}", at[0], words, at[-1]]
        case Add():
            stored = [memory.stored(index, y)] if node.constant is not None else []
            return [_add(index, node)], [f"&add_{index}", *at[:-1], *stored, at[-1], memory.count(y)]
        case MatMul():
            table = f"static const eo_matmul matmul_{index} = {_matmul(node)};"
            operands = [_plus(at[0], node.a.offset), _plus(at[1], node.b.offset)]
            return [table], [f"&matmul_{index}", *operands, at[-1], memory.scratch(step)]
        case Attention():
            table = f"static const eo_attention attention_{index} = {{{_matmul(node.scores)}, {_matmul(node.mix)}}};"
            starts = (node.scores.a, node.scores.b, node.mix.b)
            operands = [_plus(operand, strides.offset) for operand, strides in zip(at, starts, strict=False)]
            y_at = f"(int8_t *){at[-1]} + {node.mix.y.offset}" if node.mix.y.offset else at[-1]
            return [table], [f"&attention_{index}", *operands, _half(index), y_at, memory.scratch(step)]
        case Norm():
            table = f"static const eo_norm norm_{index} = {{{_norm(node, x.shape[2])}}};"
            factors = f"(const int32_t *)(const void *){words}"
            return [table], [f"&norm_{index}", at[0], factors, at[-1], memory.rows(x)]
        case AvgPool2d():
            table = f"static const eo_requant requant_{index} = {{{step.packed[0]}, {step.packed[1]}}};"
            tables = [_window(index, node, x.shape, y.shape), table]
            return tables, [memory.window(index), at[0], f"&requant_{index}", at[-1]]
        case MaxPool2d():
            return [_window(index, node, x.shape, y.shape)], [memory.window(index), at[0], at[-1]]
        case BinaryConv2d():
            outputs, *_, inputs = node.weights.shape
            ends = node.end.clamp if isinstance(node.end, Requant) else Clamp(0)
            table = _window_of(index, node.window, (*x.shape[:2], inputs), (*y.shape[:2], outputs), ends)
            flag = str(int(isinstance(node.end, Requant)))
            return [table], [memory.window(index), at[0], words, flag, at[-1], memory.scratch(step)]
        case BinaryMaxPool2d():
            channels = 8 * x.shape[2]
            table = _window_of(index, node.window, (*x.shape[:2], channels), (*y.shape[:2], channels), Clamp(0))
            return [table], [memory.window(index), *at]
        case Sign():
            return [], [at[0], words, at[-1], memory.rows(x), str(x.shape[2])]
        case Softmax():
            return [], [at[0], _half(index), at[-1], memory.rows(y), str(y.shape[2])]
        case Generated():
            return [], [*at, memory.scratch(step)]
        case Table():
            return [], [at[0], _int8(index), at[-1], memory.count(y)]
    raise TypeError(f"no call for {node.op}")


def _half(index: int) -> str:
    """A layer's constants as 16-bit numbers."""
    return f"(const uint16_t *)(const void *)weights_{index}"


def _int8(index: int) -> str:
    """A layer's constants as bytes."""
    return f"(const int8_t *)(const void *)weights_{index}"


def _plus(pointer: str, offset: int) -> str:
    return f"(const int8_t *){pointer} + {offset}" if offset else pointer


def _matmul(node: MatMul) -> str:
    batch, rows, depth = node.a.sizes
    row = node.a.steps[1] if rows > 1 else depth
    sizes = (batch, rows, depth, node.b.sizes[2])
    steps = (node.a.steps[0], row, *node.b.steps[:3], *node.y.steps[:2])
    ends = (node.a_zero, node.clamp.zero, node.clamp.low, node.clamp.high)
    return f"{{{', '.join(map(str, (*sizes, *steps, node.multiplier, *ends)))}}}"


def _norm(node: Norm, width: int) -> str:
    factors = node.factors
    ends = (node.in_zero, node.clamp.zero, node.clamp.low, node.clamp.high)
    per_channel = len(factors.multiplier) > 1
    return ", ".join(map(str, (factors.epsilon, width, int(factors.centered), int(per_channel), *ends)))


def _copies(memory: Memory, index: int, step: Step) -> tuple[list[str], list[str]]:
    """Tables and calls, one for each piece; inputs in order, constants one after another."""
    assert isinstance(step.node, Copy)
    inputs, stored = iter(step.node.inputs), 0
    tables, calls = [], []
    for i, piece in enumerate(step.node.pieces):
        if piece.constant is None:
            source = _plus(memory.at(next(inputs)), piece.source.offset)
        else:
            source = _plus(_int8(index), stored + piece.source.offset)
            stored += -(-piece.constant.size // 4) * 4
        unused = (1,) * (4 - len(piece.source.sizes))
        sizes, *steps = ((*unused, *v) for v in (piece.source.sizes, piece.source.steps, piece.target.steps))
        fields = ", ".join(f"{{{', '.join(map(str, v))}}}" for v in (sizes, *steps))
        tables.append(f"static const eo_copy copy_{index}_{i} = {{{fields}}};")
        target, offset = memory.at(step.node.output), piece.target.offset
        to = f"(int8_t *){target} + {offset}" if offset else target
        calls.append(f"{step.symbol}(&copy_{index}_{i}, {source}, {to});")
    return tables, calls


def _window(
    index: int, node: Conv2d | DepthwiseConv2d | AvgPool2d | MaxPool2d, x: Sequence[int], y: Sequence[int]
) -> str:
    if isinstance(node, MaxPool2d):
        return _window_of(index, node.window, x, y, Clamp(0, node.low, node.high))
    return _window_of(index, node.window, x, y, node.clamp, node.in_zero)


def _window_of(index: int, w: Window, x: Sequence[int], y: Sequence[int], clamp: Clamp, in_zero: int = 0) -> str:
    ends = (in_zero, clamp.zero, clamp.low, clamp.high)
    fields = ", ".join(map(str, (*x, *y, *w.kernel, *w.stride, *w.padding[:2], *ends)))
    return f"static const eo_window window_{index} = {{{fields}}};"


def _add(index: int, node: Add) -> str:
    f = node.factors
    return (
        f"static const eo_add add_{index} = {{{f.mul_a}, {f.mul_b}, {f.offset}, {f.shift}, {node.low}, {node.high}}};"
    )
