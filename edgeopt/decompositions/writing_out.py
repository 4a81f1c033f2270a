"""Operators written out: the table of decompositions, and how one takes the place of a node.

A decomposition is a function in torch that takes an operator's arguments, in the order of its schema, and returns its
value by operators that every exporter translates rightly. It is traced with the node's shapes; what it computes of
shapes and constants alone (matrices of an interpolation, divisors of a pool) is computed here, once, and becomes a
constant of the program.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

from edgeopt.ir.attribution import attribute_to
from edgeopt.ir.nodes import Target, run_node
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments

Arguments = Mapping[str, Any]
"""A call's arguments by schema name: constants as tensors, what the graph computes as fake tensors."""

Written = TypeVar("Written", bound=Callable[..., Any])


@dataclass(frozen=True)
class Decomposition:
    """What a call becomes, and whether a given call has to: the operator's other forms are left whole."""

    write: Callable[..., Any]
    is_needed: Callable[[Arguments], bool]


TABLE: dict[Target, Decomposition] = {}
"""The decomposition of each operator that has one."""


def decomposes(
    *targets: Target, where: Callable[[Arguments], bool] = lambda given: True
) -> Callable[[Written], Written]:
    """Register a function as what calls of ``targets`` become, where ``where`` holds of their arguments."""

    def register(write: Written) -> Written:
        TABLE.update(dict.fromkeys(targets, Decomposition(write, where)))
        return write

    return register


def each(value: Any, rank: int) -> list[int]:
    """Return an argument that is one number, a list of one or a list of ``rank`` as the last."""
    return list(value) * (rank // len(value)) if isinstance(value, list | tuple) else [value] * rank


def write_out(program: Program) -> bool:
    """Replace, in place, every call that needs it by its decomposition; return whether there was one."""
    found = [node for node in program.calls if is_needed(program, node)]
    for node in found:
        replace_by(program, node, TABLE[node.target].write)
    return bool(found)


def is_needed(program: Program, node: fx.Node) -> bool:
    """Return whether a node is an operator, in a form, that is written out."""
    decomposition = TABLE.get(node.target)
    if decomposition is None:
        return False
    return decomposition.is_needed(map_arg(arguments(node), lambda used: _value(program, used)))


def _value(program: Program, node: fx.Node) -> Any:
    constant = program.constant(node)
    return node.meta["val"] if constant is None else constant


def replace_by(program: Program, node: fx.Node, write: Callable[..., Any]) -> None:
    """Replace a call, in place, by what ``write`` computes of its arguments, which it takes in the schema's order."""
    inputs = node.all_input_nodes

    def of_inputs(*values: Any) -> Any:
        given = map_arg(arguments(node), dict(zip(inputs, values, strict=True)).__getitem__)
        return write(*given.values())

    # Before dispatch: operators stay whole that have rules of their own in exporters.
    traced = make_fx(of_inputs, pre_dispatch=True)(*(used.meta["val"] for used in inputs))
    traced.graph.eliminate_dead_code()
    result = _copied(program, node, traced.graph, inputs)
    for reader in list(node.users) if isinstance(result, tuple) else ():
        assert reader.target is operator.getitem  # nothing else reads a tuple
        reader.replace_all_uses_with(result[reader.args[1]])
        program.graph.erase_node(reader)
    if not isinstance(result, tuple):
        node.replace_all_uses_with(result)
    program.graph.erase_node(node)


def _copied(program: Program, before: fx.Node, graph: fx.Graph, inputs: list[fx.Node]) -> Any:
    """Copy a traced graph into the program; return what it returns, as nodes of the program."""
    copies: dict[fx.Node, fx.Node] = dict(zip(graph.find_nodes(op="placeholder"), inputs, strict=True))
    known = {node: constant for node, old in copies.items() if (constant := program.constant(old)) is not None}

    def copied(used: fx.Node) -> fx.Node:
        if used not in copies:
            copies[used] = program.add_constant(f"{before.name}_{used.name}", known[used])
        return copies[used]

    for node in (node for node in graph.nodes if node.op == "call_function"):
        if all(used in known for used in node.all_input_nodes):
            with torch.no_grad():
                known[node] = run_node(node, known.__getitem__)
        else:
            args, kwargs = map_arg((node.args, node.kwargs), copied)
            copies[node] = program.insert(before, node.target, *args, **kwargs)
            attribute_to(copies[node], before.name)
    return map_arg(graph.output_node().args[0], copied)
