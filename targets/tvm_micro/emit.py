"""Prints the C library: ``network.h``, ``network.c``, ``network_weights.[ch]`` and the kernels that it calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgeopt import kernels

from .bind import Step
from .integer_graph import (
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
)  # fmt: skip
from .network import FILE, Network, Port
from .plan import Plan

_TEMPLATES = Path(__file__).parent / "templates"
_WORDS_A_LINE = 9


@dataclass(frozen=True)
class Layer:
    """A layer as the template prints it: constant tables, the call, and a line about both."""

    tables: tuple[str, ...]
    call: str
    comment: str


def environment(folder: Path) -> Environment:
    """Jinja as all of this target's templates use it."""
    return Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip


def print_library(
    network: Network, graph: IntegerGraph, steps: Sequence[Step], plan: Plan, folder: Path, section: str | None = None
) -> list[str]:
    """Write the library into ``folder``, its weights into the linker's ``section``; return the files' names, sorted."""
    layers = [_layer(graph, i, step, plan) for i, step in enumerate(steps)]
    templates = environment(_TEMPLATES)
    values = {
        "arena_bytes": plan.arena_bytes,
        "inputs": [_port(p, plan, "INPUT", name) for p, name in zip(network.inputs, graph.inputs, strict=True)],
        "outputs": [_port(p, plan, "OUTPUT", name) for p, name in zip(network.outputs, graph.outputs, strict=True)],
        "layers": layers,
        "features": {step.isa[:3] for step in steps},
        "generated": [_generated(step) for step in steps if isinstance(step.node, Generated)],
    }
    files = {name: templates.get_template(f"{name}.jinja").render(values) for name in ("network.h", "network.c")}
    if values["generated"]:
        names = ("network_generated.h", "network_generated.c")
        files |= {name: templates.get_template(f"{name}.jinja").render(values) for name in names}
    files["network_weights.h"], files["network_weights.c"] = _weights(steps, section)
    files |= _kernels(steps)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    network.write(folder)
    return sorted([*files, FILE])


_C_TYPES = {"float32": "float", "int8": "int8_t", "int32": "int32_t", "int64": "int64_t"}


def _generated(step: Step) -> dict[str, object]:
    """A region as the template prints it; floats in hexadecimal, so that no bit is lost."""
    assert isinstance(step.node, Generated)
    code = step.node.code
    constants = [
        {
            "type": _C_TYPES[str(array.dtype)],
            "values": [f"{float(v).hex()}f" if array.dtype.kind == "f" else str(v) for v in array.reshape(-1)],
        }
        for array in code.constants
    ]
    operands = ", ".join(f"int8_t *x{i}" for i in range(len(step.node.inputs)))
    return {
        "symbol": step.symbol, "operands": operands, "constants": constants,
        "functions": code.functions, "calls": code.calls,
    }  # fmt: skip


def _port(port: Port, plan: Plan, side: str, tensor: str) -> dict[str, object]:
    return {
        "name": port.name, "macro": f"{side}_{_identifier(port.name).upper()}", "shape": port.hwc, "size": port.size,
        "scale": repr(float(np.float32(port.scale))), "zero_point": port.zero_point, "offset": plan.offsets[tensor],
    }  # fmt: skip


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _layer(graph: IntegerGraph, index: int, step: Step, plan: Plan) -> Layer:
    node = step.node
    x, y = (graph.tensors[name] for name in ((*node.inputs, node.output)[0], node.output))
    at = [f"AT({plan.offsets[name]})" for name in (*node.inputs, node.output)]
    macs = graph.macs(node)
    comment = f"{node.name}: {node.op}, {'x'.join(map(str, x.shape))} -> {'x'.join(map(str, y.shape))}" + (
        f", {macs} MACs" if macs else ""
    )
    tables: list[str] = []
    arguments: list[str] = []
    if isinstance(node, Conv2d | DepthwiseConv2d | AvgPool2d | MaxPool2d):
        tables.append(f"static const eo_window window_{index} = {{{_window(node, x.shape, y.shape)}}};")
        arguments.append(f"&window_{index}")
    match node:
        case Conv2d() | DepthwiseConv2d():
            arguments += [at[0], f"weights_{index}"]
            if isinstance(node, Conv2d):
                tables += [_add(index, node.residual)] if node.residual else []
                arguments.append(f"&add_{index}" if node.residual else "NULL")
            arguments += [at[-1], _scratch(step, plan)]
        case Linear():
            shape = f"{node.weights.shape[1]}, {node.weights.shape[0]}"
            clamp = f"{node.clamp.zero}, {node.clamp.low}, {node.clamp.high}"
            tables.append(f"static const eo_linear linear_{index} = {{{shape}, {clamp}}};")
            arguments = [f"&linear_{index}", at[0], f"weights_{index}", at[-1]]
        case Add():
            tables.append(_add(index, node))
            stored = [_int8(index)] if node.constant is not None else []
            arguments = [f"&add_{index}", *at[:-1], *stored, at[-1], str(y.size)]
        case MatMul():
            tables.append(f"static const eo_matmul matmul_{index} = {_matmul(node)};")
            offsets = [_plus(operand, strides.offset) for operand, strides in zip(at, (node.a, node.b), strict=False)]
            arguments = [f"&matmul_{index}", *offsets, at[-1], _scratch(step, plan)]
        case Attention():
            both = f"{{{_matmul(node.scores)}, {_matmul(node.mix)}}}"
            tables.append(f"static const eo_attention attention_{index} = {both};")
            starts = (node.scores.a, node.scores.b, node.mix.b)
            offsets = [_plus(operand, strides.offset) for operand, strides in zip(at, starts, strict=False)]
            table = f"(const uint16_t *)(const void *)weights_{index}"
            arguments = [f"&attention_{index}", *offsets, table, at[-1], _scratch(step, plan)]
        case Norm():
            tables.append(f"static const eo_norm norm_{index} = {{{_norm(node, x.shape[2])}}};")
            rows = str(x.shape[0] * x.shape[1])
            arguments = [f"&norm_{index}", at[0], f"(const int32_t *)(const void *)weights_{index}", at[-1], rows]
        case Copy():
            return _copies(index, step, at, comment)
        case AvgPool2d():
            tables.append(f"static const eo_requant requant_{index} = {{{step.packed[0]}, {step.packed[1]}}};")
            arguments += [at[0], f"&requant_{index}", at[-1]]
        case MaxPool2d():
            arguments += [at[0], at[-1]]
        case Softmax():
            rows = str(y.shape[0] * y.shape[1])
            arguments = [at[0], f"(const uint16_t *)(const void *)weights_{index}", at[-1], rows, str(y.shape[2])]
        case Generated():
            arguments = [*at, _scratch(step, plan)]
        case Table():
            arguments = [at[0], _int8(index), at[-1], str(y.size)]
    return Layer(tuple(tables), f"{step.symbol}({', '.join(arguments)});", comment)


def _scratch(step: Step, plan: Plan) -> str:
    return f"AT({plan.offsets[step.scratch]})" if step.scratch_bytes else "NULL"


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
    return ", ".join(map(str, (factors.epsilon, width, int(factors.centred), int(per_channel), *ends)))


def _copies(index: int, step: Step, at: Sequence[str], comment: str) -> Layer:
    """A call for each piece; inputs in order, constants one after another."""
    assert isinstance(step.node, Copy)
    inputs, stored = iter(at[:-1]), 0
    tables, calls = [], []
    for i, piece in enumerate(step.node.pieces):
        if piece.constant is None:
            source = _plus(next(inputs), piece.source.offset)
        else:
            source = _plus(_int8(index), stored + piece.source.offset)
            stored += -(-piece.constant.size // 4) * 4
        unused = (1,) * (4 - len(piece.source.sizes))
        sizes, *steps = ((*unused, *v) for v in (piece.source.sizes, piece.source.steps, piece.target.steps))
        fields = ", ".join(f"{{{', '.join(map(str, v))}}}" for v in (sizes, *steps))
        tables.append(f"static const eo_copy copy_{index}_{i} = {{{fields}}};")
        target = f"(int8_t *){at[-1]} + {piece.target.offset}" if piece.target.offset else at[-1]
        calls.append(f"{step.symbol}(&copy_{index}_{i}, {source}, {target});")
    return Layer(tuple(tables), "\n    ".join(calls), comment)


def _window(node: Conv2d | DepthwiseConv2d | AvgPool2d | MaxPool2d, x: Sequence[int], y: Sequence[int]) -> str:
    w = node.window
    if isinstance(node, MaxPool2d):
        ends = (0, 0, node.low, node.high)
    else:
        ends = (node.in_zero, node.clamp.zero, node.clamp.low, node.clamp.high)
    return ", ".join(map(str, (*x, *y, *w.kernel, *w.stride, *w.padding[:2], *ends)))


def _add(index: int, node: Add) -> str:
    f = node.factors
    return (
        f"static const eo_add add_{index} = {{{f.mul_a}, {f.mul_b}, {f.offset}, {f.shift}, {node.low}, {node.high}}};"
    )


def _weights(steps: Sequence[Step], section: str | None) -> tuple[str, str]:
    """Header and source of the constant blocks; those of pools are in network.c, two numbers each."""
    blocks = {i: step for i, step in enumerate(steps) if step.packed.size and step.node.op != "avg_pool2d"}
    header = ["/* Constant blocks of the layers, in the order in which their kernels read them. */",
              "#ifndef NETWORK_WEIGHTS_H", "#define NETWORK_WEIGHTS_H", "", "#include <stdint.h>", ""]  # fmt: skip
    source = ['#include "network_weights.h"']
    for i, step in blocks.items():
        header.append(f"extern const uint32_t weights_{i}[{step.packed.size}]; /* {step.node.name} */")
        where = f' __attribute__((section("{section}")))' if section else ""
        source += ["", f"const uint32_t weights_{i}[{step.packed.size}]{where} = {{"]
        words = [f"0x{word:08x}," for word in step.packed.view(np.uint32)]
        source += [" ".join(words[k : k + _WORDS_A_LINE]) for k in range(0, len(words), _WORDS_A_LINE)] + ["};"]
    return "\n".join([*header, "", "#endif", ""]), "\n".join([*source, ""])


def _kernels(steps: Sequence[Step]) -> dict[str, str]:
    """The kernels' files in one flat folder: ``s8_conv2d_dsp16.c``, their headers beside them."""
    used = {step.kernel for step in steps if step.kernel}
    files = {}
    for path in kernels.sources(used):
        inventory_file = path.suffix == ".c"
        name = f"{path.parent.name}_{path.name}" if inventory_file else path.name
        files[name] = re.sub(r'#include "\.\./common/(\w+\.h)"', r'#include "\1"', path.read_text())
    return files
