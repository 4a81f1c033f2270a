"""Multiply-accumulates of a program, counted from shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import fx
from torch.fx.node import map_arg

from edgeopt.ir.metrics import Arrays
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.operator import operator_of
from edgeopt.ops.opsets import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS

Shape = Sequence[int]


def count_macs(program: Program, sample: Arrays) -> dict[str, int]:
    """Return multiply-accumulates by node for one inference on ``sample``; nodes without any are left out.

    Counted: convolutions, linears, matrix products, both products of attention, and of registered operators what
    their descriptors say; a product of signs counts as one. Elementwise work is not counted.
    """
    macs: dict[str, int] = {}
    shapes: dict[fx.Node, Shape] = {
        n: tuple(program.constants[n.name].shape) for n in program.graph.nodes if n.name in program.constants
    }
    shapes.update({node: sample[node.name].shape for node in program.input_nodes})

    def observe(node: fx.Node, value: object) -> None:
        if isinstance(value, torch.Tensor):
            shapes[node] = tuple(value.shape)
        if node.target in _COUNTS:
            known = [shapes[a] for a in node.args if isinstance(a, fx.Node) and a in shapes]
            macs[node.name] = _COUNTS[node.target](shapes[node], known)
        elif (operator := operator_of(node.target)) is not None and operator.macs is not None:
            given = map_arg(arguments(node), shapes.__getitem__)
            macs[node.name] = operator.macs({**given, "result": shapes[node]})

    program.run(sample, observe)
    return macs


def _convolution(result: Shape, args: Sequence[Shape]) -> int:
    return math.prod(result) * math.prod(args[1][1:])


def _transposed(result: Shape, args: Sequence[Shape]) -> int:
    return math.prod(args[0]) * math.prod(args[1][1:])


def _contraction(result: Shape, args: Sequence[Shape]) -> int:
    return math.prod(result) * args[0][-1]


def _addmm(result: Shape, args: Sequence[Shape]) -> int:
    return math.prod(result) * args[1][-1]


def _attention(result: Shape, args: Sequence[Shape]) -> int:
    query, key = args[0], args[1]
    return math.prod(query) * key[-2] + math.prod(result) * key[-2]


_COUNTS: dict[object, Callable[[Shape, Sequence[Shape]], int]] = {
    **dict.fromkeys((*CONVOLUTIONS, aten.conv2d.padding), _convolution),
    **dict.fromkeys(TRANSPOSED_CONVOLUTIONS, _transposed),
    aten.linear.default: _contraction,
    aten.matmul.default: _contraction,
    aten.mm.default: _contraction,
    aten.bmm.default: _contraction,
    aten.addmm.default: _addmm,
    aten.scaled_dot_product_attention.default: _attention,
}
