"""Between which numbers a program's integers lie, whatever it is fed: by interval arithmetic over the graph.

Constants are known, an index lies within what it indexes, and comparisons are 0 or 1. Inputs that nothing bounds, and
floats of which nothing is known where they are cast, are taken to lie within a bound that the caller assumes, on both
sides of zero. What an operator without a rule returns may be anything that its type holds.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.analysis import float_ranges
from edgeopt.analysis.indices import legal_indices, static_size
from edgeopt.analysis.integer_rules import (
    LARGEST_SIZE,
    MOVES,
    MOVES_BY_NAME,
    RULES,
    RULES_BY_NAME,
    cast,
    is_integer,
    part,
    schema_name,
)
from edgeopt.analysis.intervals import Interval, hull, meet, within
from edgeopt.ir.program import Program


def of_dtype(dtype: torch.dtype) -> Interval:
    """Return the interval of an integer type; of ``torch.bool`` 0 to 1."""
    if dtype == torch.bool:
        return (0, 1)
    return (torch.iinfo(dtype).min, torch.iinfo(dtype).max)


def hands_on(node: fx.Node) -> bool:
    """Return whether a node hands on values that it reads, in another place or order."""
    return node.target in MOVES or schema_name(node) in MOVES_BY_NAME


def bound_by_index(program: Program, node: fx.Node) -> Interval | None:
    """Return what bounds a node because tensors are indexed by it, None where nothing does."""
    return legal_indices(program, node, static_size, of_all=True)


def integer_ranges(program: Program, assumed: int) -> dict[fx.Node, Interval]:
    """Return the interval of every node that holds integers or booleans, or is a size.

    ``assumed``: bound of what nothing else bounds. An interval may exceed the node's type: the value then wraps.
    """
    return _ranges(program, assumed, assumed)[0]


def float_ranges_of(program: Program) -> dict[fx.Node, float_ranges.Range]:
    """Return the range of every node that holds floats, inputs of which may be anything."""
    return _ranges(program, of_dtype(torch.int32)[1], inf)[1]


@dataclass(frozen=True)
class FloatCasts:
    """Where floats become integers: the ``inputs`` that have to lie within a bound for it, and casts of what no bound
    of an input bounds."""

    inputs: tuple[fx.Node, ...]
    unbounded: tuple[fx.Node, ...]


def float_casts(program: Program) -> FloatCasts:
    """Return the casts of floats to integers that do not lie within an interval by themselves."""
    free, bounded = (_ranges(program, 1, floats)[1] for floats in (inf, 1.0))
    inputs: dict[fx.Node, None] = {}
    unbounded = []
    for node in program.calls:
        if not casts_floats(node) or bound_by_index(program, node) is not None:
            continue
        source = node.all_input_nodes[0]
        if not float_ranges.is_known(bounded[source]):
            unbounded.append(node)
        elif not float_ranges.is_known(free[source]):
            inputs.update(dict.fromkeys(_sources(source, free)))
    return FloatCasts(tuple(inputs), tuple(unbounded))


def _sources(node: fx.Node, free: Mapping[fx.Node, float_ranges.Range]) -> list[fx.Node]:
    """Return the inputs that a float comes from by way of what nothing bounds."""
    found, seen, waiting = [], {node}, [node]
    while waiting:
        one = waiting.pop()
        if one.op == "placeholder":
            found.append(one)
        read = [n for n in one.all_input_nodes if n not in seen and n in free and not float_ranges.is_known(free[n])]
        seen.update(read)
        waiting += read
    return found


def casts_floats(node: fx.Node) -> bool:
    """Return whether a node makes integers of floats."""
    return is_integer(node) and RULES.get(node.target) is cast and float_ranges.is_float(node.all_input_nodes[0])


def _ranges(
    program: Program, assumed: int, floats: float
) -> tuple[dict[fx.Node, Interval], dict[fx.Node, float_ranges.Range]]:
    """Return the intervals of integers and of floats; ``floats`` bounds inputs of floats."""
    ranges: dict[fx.Node, Interval] = {}
    of_floats: dict[fx.Node, float_ranges.Range] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt):
            ranges[node] = (0, LARGEST_SIZE)
        elif isinstance(value, torch.Tensor) and value.dtype == torch.bool:
            ranges[node] = (0, 1)
        elif float_ranges.is_float(node):
            of_floats[node] = _of_floats(program, node, {**_read(node, ranges), **_read(node, of_floats)}, floats)
        elif is_integer(node) and node.op == "placeholder":
            ranges[node] = _of_placeholder(program, node, assumed)
        elif is_integer(node) and casts_floats(node):
            ranges[node] = _of_cast(program, node, of_floats[node.all_input_nodes[0]], assumed)
        elif is_integer(node):
            # What has wrapped may be anything that its type holds.
            known = {n: i if within(i, _held(n)) else _held(n) for n, i in _read(node, ranges).items()}
            ranges[node] = _of_call(node, known, _held(node))
    return ranges, of_floats


def _read(node: fx.Node, ranges: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Return the ranges of what a node reads, and of what a tuple comes from that it takes a part of."""
    whole = node.all_input_nodes
    sources = [*whole, *whole[0].all_input_nodes] if node.target is operator.getitem else whole
    return {source: ranges[source] for source in sources if source in ranges}


def _of_placeholder(program: Program, node: fx.Node, assumed: int) -> Interval:
    tensor = program.constant(node)
    if tensor is not None:
        return (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, 0)
    return bound_by_index(program, node) or meet((-assumed, assumed), _held(node))


def _of_floats(program: Program, node: fx.Node, read: Mapping[fx.Node, Any], assumed: float) -> float_ranges.Range:
    if node.op == "placeholder":
        tensor = program.constant(node)
        return (-assumed, assumed) if tensor is None else float_ranges.of_constant(tensor)
    return float_ranges.of_call(node, read, hands_on(node))


def _of_cast(program: Program, node: fx.Node, source: float_ranges.Range, assumed: int) -> Interval:
    """What lies behind the point is cut off, of what float32 holds."""
    if (rows := bound_by_index(program, node)) is not None:
        return rows
    low, high = map(float, map(np.float32, source))
    return (int(low), int(high)) if float_ranges.is_known((low, high)) else (-assumed, assumed)


def _of_call(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    rule = RULES.get(node.target) or RULES_BY_NAME.get(schema_name(node))
    if rule is not None:
        return rule(node, known, anything)
    if node.target is operator.getitem:
        return part(node, known, anything)
    read = [known[source] for source in node.all_input_nodes if source in known and is_integer(source)]
    return hull(*read) if read and hands_on(node) else anything


def _held(node: fx.Node) -> Interval:
    value = node.meta["val"]
    return of_dtype(value.dtype) if isinstance(value, torch.Tensor) else of_dtype(torch.int64)
