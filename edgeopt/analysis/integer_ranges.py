"""Between which numbers a program's integers lie, whatever it is fed: by interval arithmetic over the graph.

Constants are known, an index lies within what it indexes, and comparisons are 0 or 1. Inputs that nothing bounds, and
what is cast from floats, are taken to lie within a bound that the caller assumes, on both sides of zero.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import fx

from edgeopt.program import Program

aten = torch.ops.aten

Interval = tuple[int, int]
"""Least and greatest value, both possible or not."""

_LARGEST_SIZE = 2**16
"""What a dimension without an upper bound is taken to be at most."""

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def of_dtype(dtype: torch.dtype) -> Interval:
    """Return the interval of an integer type; of ``torch.bool`` 0 to 1."""
    if dtype == torch.bool:
        return (0, 1)
    return (torch.iinfo(dtype).min, torch.iinfo(dtype).max)


def is_integer(node: object) -> bool:
    """Return whether a node's value is a tensor of integers, or a size."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, torch.SymInt) or (isinstance(value, torch.Tensor) and value.dtype in INTEGERS)


def hands_on(node: fx.Node) -> bool:
    """Return whether a node hands on values that it reads, in another place or order."""
    return node.target in _MOVES or _schema_name(node) in _MOVES_BY_NAME


def indexed_rows(node: fx.Node) -> Interval | None:
    """Return what bounds a node because tensors are indexed by it, None where nothing does."""
    sizes = [reader.args[0].meta["val"].shape[0] for reader in node.users if _embeds(reader, node)]  # type: ignore[union-attr]
    static = [size for size in sizes if isinstance(size, int)]
    return (0, min(static) - 1) if static else None


def integer_ranges(program: Program, assumed: int) -> dict[fx.Node, Interval]:
    """Return the interval of every node that holds integers or booleans, or is a size.

    ``assumed``: bound of what nothing else bounds. An interval may exceed the node's type: the value then wraps.
    """
    ranges: dict[fx.Node, Interval] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt):
            ranges[node] = (0, _LARGEST_SIZE)
        elif isinstance(value, torch.Tensor) and value.dtype == torch.bool:
            ranges[node] = (0, 1)
        elif is_integer(node) and node.op == "placeholder":
            ranges[node] = _of_placeholder(program, node, assumed)
        elif is_integer(node):
            # What has wrapped may be anything that its type holds.
            read = {source: ranges[source] for source in node.all_input_nodes if source in ranges}
            known = {n: interval if within(interval, _held(n)) else _held(n) for n, interval in read.items()}
            ranges[node] = _of_call(node, known, _meet((-assumed, assumed), _held(node)))
    return ranges


def _of_placeholder(program: Program, node: fx.Node, assumed: int) -> Interval:
    tensor = program.constant(node)
    if tensor is not None:
        return (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, 0)
    return indexed_rows(node) or _meet((-assumed, assumed), _held(node))


def _of_call(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    rule = _RULES.get(node.target)  # type: ignore[arg-type]
    if rule is not None:
        return rule(node, known, assumed)
    read = [known[source] for source in node.all_input_nodes if source in known and is_integer(source)]
    return _hull(*read) if read and hands_on(node) else assumed


# -- rules: the interval of a call from those of its arguments ---------------------------------------------

Rule = Callable[[fx.Node, Mapping[fx.Node, Interval], Interval], Interval]


def _argument(node: fx.Node, index: int, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    value = node.args[index] if len(node.args) > index else 0
    if isinstance(value, fx.Node):
        return known.get(value, assumed)
    return (int(value), int(value)) if isinstance(value, int | bool) else assumed


def _two(combine: Callable[[Interval, Interval], Interval]) -> Rule:
    return lambda node, known, assumed: combine(
        _argument(node, 0, known, assumed), _scaled_second(node, known, assumed)
    )


def _scaled_second(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    low, high = _argument(node, 1, known, assumed)
    alpha = node.kwargs.get("alpha", 1)
    return _ends(low * alpha, high * alpha) if isinstance(alpha, int) else assumed


def _add(a: Interval, b: Interval) -> Interval:
    return (a[0] + b[0], a[1] + b[1])


def _sub(a: Interval, b: Interval) -> Interval:
    return (a[0] - b[1], a[1] - b[0])


def _mul(a: Interval, b: Interval) -> Interval:
    return _ends(*(x * y for x in a for y in b))


def _quotient(a: Interval, b: Interval) -> Interval:
    """The quotient is largest by the divisor nearest to zero."""
    nearest = 1 if b[0] <= 0 <= b[1] else min(abs(b[0]), abs(b[1]))
    largest = max(abs(a[0]), abs(a[1])) // nearest + 1
    return (0 if a[0] >= 0 and b[0] > 0 else -largest, largest)


def _remainder(a: Interval, b: Interval) -> Interval:
    largest = max(abs(b[0]), abs(b[1]), 1) - 1
    return (0 if b[0] > 0 else -largest, 0 if b[1] < 0 else largest)


def _signed_remainder(a: Interval, b: Interval) -> Interval:
    largest = max(abs(b[0]), abs(b[1]), 1) - 1
    return (max(min(a[0], 0), -largest), min(max(a[1], 0), largest))


def _power(a: Interval, b: Interval) -> Interval:
    exponent = max(b[1], 0)
    largest = max(abs(a[0]), abs(a[1])) ** min(exponent, 64)
    return (0 if a[0] >= 0 or (b[0] == b[1] and exponent % 2 == 0) else -largest, largest)


def _shift(a: Interval, b: Interval) -> Interval:
    return _mul(a, (1 << max(min(b[0], 63), 0), 1 << max(min(b[1], 63), 0)))


def _right_shift(a: Interval, b: Interval) -> Interval:
    return _hull(a, (a[0] >> max(b[0], 0), a[1] >> max(b[0], 0)), (0, 0))


def _bits(a: Interval, b: Interval) -> Interval:
    bits = max(abs(end).bit_length() for end in (*a, *b))
    return (0 if min(a[0], b[0]) >= 0 else -(1 << bits), (1 << bits) - 1)


def _common_bits(a: Interval, b: Interval) -> Interval:
    """What is not negative bounds what it has in common with anything."""
    bounds = [high for low, high in (a, b) if low >= 0]
    return (0, min(bounds)) if bounds else _bits(a, b)


def _overloads(name: str) -> tuple[Any, ...]:
    packets = (getattr(aten, f"bitwise_{name}"), getattr(aten, f"__{name}__"))
    return tuple(overload for packet in packets for overload in (packet.Tensor, packet.Scalar))


def _negated(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    return _sub((0, 0), _argument(node, 0, known, assumed))


def _absolute(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    low, high = _argument(node, 0, known, assumed)
    return (0, max(abs(low), abs(high)))


def _clamped(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    low, high = _argument(node, 0, known, assumed)
    least, most = [*node.args[1:], None, None][:2]
    if isinstance(least, int):
        low, high = max(low, least), max(high, least)
    if isinstance(most, int):
        low, high = min(low, most), min(high, most)
    return (low, high)


def _summed(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    source: Any = node.args[0]
    axes = node.args[1] if len(node.args) > 1 else []
    dims = [axes] if isinstance(axes, int) else list(axes or range(source.meta["val"].dim()))  # type: ignore[arg-type, call-overload]
    terms = prod(_largest(source.meta["val"].shape[dim]) for dim in dims)
    low, high = _argument(node, 0, known, assumed)
    return _hull((low * terms, high * terms), (low, high) if terms else (0, 0))


def _filled(place: int) -> Rule:
    return lambda node, known, assumed: _argument(node, place, known, assumed)


def _fixed(low: int, high: int) -> Rule:
    return lambda node, known, assumed: (low, high)


def _either(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    return _hull(*(_argument(node, place, known, assumed) for place in (1, 2)))


def _cast(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    return _argument(node, 0, known, assumed)


def _counted(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    """An arange: from, to, step."""
    ends = [(int(a), int(a)) if isinstance(a, int) else known.get(a, assumed) for a in node.args[:2]]  # type: ignore[arg-type]
    return _hull((0, 0), *ends)


def _position(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    source: Any = node.args[0]
    return (0, max(prod(map(_largest, source.meta["val"].shape)) - 1, 0))


def _filled_in(node: fx.Node, known: Mapping[fx.Node, Interval], assumed: Interval) -> Interval:
    """Padded, or filled where a mask says so: the last argument is the value, which is 0 where there is none."""
    value = node.args[-1] if len(node.args) > 2 else 0
    filling = known.get(value, assumed) if isinstance(value, fx.Node) else None
    literal = (int(value), int(value)) if isinstance(value, int | float) else (0, 0)
    return _hull(_argument(node, 0, known, assumed), (0, 0), filling or literal)


_RULES: dict[Any, Rule] = {
    **dict.fromkeys((aten.add.Tensor, aten.add.Scalar, operator.add), _two(_add)),
    **dict.fromkeys((aten.sub.Tensor, aten.sub.Scalar, operator.sub), _two(_sub)),
    aten.rsub.Scalar: _two(lambda a, b: _sub(b, a)),
    **dict.fromkeys((aten.mul.Tensor, aten.mul.Scalar, operator.mul), _two(_mul)),
    **dict.fromkeys((aten.floor_divide.default, aten.floor_divide.Scalar, operator.floordiv), _two(_quotient)),
    **dict.fromkeys((aten.div.Tensor_mode, aten.div.Scalar_mode), _two(_quotient)),
    **dict.fromkeys((aten.remainder.Scalar, aten.remainder.Tensor, operator.mod), _two(_remainder)),
    **dict.fromkeys((aten.fmod.Scalar, aten.fmod.Tensor), _two(_signed_remainder)),
    **dict.fromkeys((aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar), _two(_power)),
    **dict.fromkeys((aten.__lshift__.Scalar, aten.bitwise_left_shift.Tensor_Scalar), _two(_shift)),
    **dict.fromkeys((aten.__lshift__.Tensor, aten.bitwise_left_shift.Tensor), _two(_shift)),
    **dict.fromkeys((aten.__rshift__.Scalar, aten.bitwise_right_shift.Tensor_Scalar), _two(_right_shift)),
    **dict.fromkeys((aten.__rshift__.Tensor, aten.bitwise_right_shift.Tensor), _two(_right_shift)),
    **dict.fromkeys(_overloads("and"), _two(_common_bits)),
    **dict.fromkeys((*_overloads("or"), *_overloads("xor")), _two(_bits)),
    aten.bitwise_not.default: lambda node, known, assumed: _sub((-1, -1), _argument(node, 0, known, assumed)),
    **dict.fromkeys((aten.maximum.default, aten.minimum.default), _two(lambda a, b: _hull(a, b))),
    aten.neg.default: _negated,
    aten.abs.default: _absolute,
    aten.sign.default: _fixed(-1, 1),
    aten.clamp.default: _clamped,
    **dict.fromkeys((aten.sum.default, aten.sum.dim_IntList, aten.cumsum.default), _summed),
    **dict.fromkeys((aten.full.default, aten.full_like.default), _filled(1)),
    **dict.fromkeys((aten.zeros.default, aten.zeros_like.default), _fixed(0, 0)),
    **dict.fromkeys((aten.ones.default, aten.ones_like.default), _fixed(1, 1)),
    aten.scalar_tensor.default: _filled(0),
    aten.where.self: _either,
    **dict.fromkeys((aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar), _either),
    **dict.fromkeys((aten.to.dtype, aten._to_copy.default, aten.type_as.default), _cast),
    **dict.fromkeys((aten.argmax.default, aten.argmin.default, aten.nonzero.default, aten.argsort.default), _position),
    **dict.fromkeys((aten.pad.default, aten.constant_pad_nd.default, aten.tril.default, aten.triu.default), _filled_in),
    **dict.fromkeys((aten.masked_fill.Scalar, aten.masked_fill.Tensor), _filled_in),
    aten.one_hot.default: _fixed(0, 1),
    **dict.fromkeys((aten.arange.default, aten.arange.start, aten.arange.start_step), _counted),
}

_MOVES = frozenset([operator.getitem])
_MOVES_BY_NAME = frozenset(
    f"aten::{name}"
    for names in (
        ("clone", "contiguous", "detach", "alias", "lift_fresh_copy", "reshape", "view", "flatten", "permute"),
        ("transpose", "expand", "squeeze", "unsqueeze", "repeat", "repeat_interleave", "cat", "stack", "flip", "roll"),
        ("slice", "select", "index_select", "gather", "index", "embedding", "diagonal", "unfold", "split", "chunk"),
        ("split_with_sizes", "unbind", "sort", "topk", "max", "min", "amax", "amin"),
    )
    for name in names
)
"""What hands on its integers: the result lies within the hull of what is read."""


# -- intervals ---------------------------------------------------------------------------------------------


def _ends(*values: int) -> Interval:
    return (min(values), max(values))


def _hull(*intervals: Interval) -> Interval:
    return (min(low for low, _ in intervals), max(high for _, high in intervals))


def _meet(one: Interval, other: Interval) -> Interval:
    return (max(one[0], other[0]), min(one[1], other[1]))


def within(inner: Interval, outer: Interval) -> bool:
    """Return whether one interval lies in another."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _held(node: fx.Node) -> Interval:
    value = node.meta["val"]
    return of_dtype(value.dtype) if isinstance(value, torch.Tensor) else of_dtype(torch.int64)


def _largest(size: int | torch.SymInt) -> int:
    if isinstance(size, int):
        return size
    bounds = size.node.shape_env.bound_sympy(size.node.expr)
    return min(int(bounds.upper), _LARGEST_SIZE) if bounds.upper.is_number and bounds.upper.is_finite else _LARGEST_SIZE


def _embeds(reader: fx.Node, index: fx.Node) -> bool:
    return reader.target is aten.embedding.default and reader.args[1] is index


def _schema_name(node: fx.Node) -> str:
    return node.target._schema.name if isinstance(node.target, torch._ops.OpOverload) else ""
