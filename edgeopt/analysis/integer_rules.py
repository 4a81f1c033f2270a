"""The interval that an operator's integers lie in, from those of its arguments."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.intervals import (
    Interval,
    bits,
    common_bits,
    ends,
    hull,
    left_shift,
    minus,
    plus,
    power,
    quotient,
    remainder,
    right_shift,
    signed_remainder,
    times,
)
from edgeopt.ir.nodes import aten, int_list, node_arg, shape_of
from edgeopt.ops.opsets import CASTS, FILLS, RIGHT_SHIFTS

LARGEST_SIZE = 2**16
"""What a dimension without an upper bound is taken to be at most."""

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def is_integer(node: object) -> bool:
    """Return whether a node's value is a tensor of integers, or a size."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, torch.SymInt) or (isinstance(value, torch.Tensor) and value.dtype in INTEGERS)


def largest(size: int | torch.SymInt) -> int:
    """Return a size, or what it is at most."""
    if isinstance(size, int):
        return size
    bounds = size.node.shape_env.bound_sympy(size.node.expr)
    return min(int(bounds.upper), LARGEST_SIZE) if bounds.upper.is_Integer else LARGEST_SIZE


def schema_name(node: fx.Node) -> str:
    """Return the name of the operator that a node calls; nothing where it calls none."""
    return node.target._schema.name if isinstance(node.target, torch._ops.OpOverload) else ""


Rule = Callable[[fx.Node, Mapping[fx.Node, Interval], Interval], Interval]


def _argument(node: fx.Node, index: int, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    value = node.args[index] if len(node.args) > index else 0
    if isinstance(value, fx.Node):
        return known.get(value, anything)
    return (int(value), int(value)) if isinstance(value, int | bool) else anything


def _two(combine: Callable[[Interval, Interval], Interval]) -> Rule:
    return lambda node, known, anything: combine(
        _argument(node, 0, known, anything), _scaled_second(node, known, anything)
    )


def _scaled_second(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    low, high = _argument(node, 1, known, anything)
    alpha = node.kwargs.get("alpha", 1)
    return ends(low * alpha, high * alpha) if isinstance(alpha, int) else anything


def _overloads(name: str) -> tuple[Any, ...]:
    packets = (getattr(aten, f"bitwise_{name}"), getattr(aten, f"__{name}__"))
    return tuple(overload for packet in packets for overload in (packet.Tensor, packet.Scalar))


def _negated(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    return minus((0, 0), _argument(node, 0, known, anything))


def _absolute(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    low, high = _argument(node, 0, known, anything)
    return (0, max(abs(low), abs(high)))


def _clamped(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    low, high = _argument(node, 0, known, anything)
    least, most = [*node.args[1:], None, None][:2]
    if isinstance(least, int):
        low, high = max(low, least), max(high, least)
    if isinstance(most, int):
        low, high = min(low, most), min(high, most)
    return (low, high)


def _summed(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    shape = shape_of(node_arg(node, 0))
    axes = node.args[1] if len(node.args) > 1 else None
    dims = list(range(len(shape))) if axes in (None, [], ()) else int_list(axes)
    # A number has no axis, and yet its sum along the first or last.
    terms = prod(largest(shape[dim]) for dim in dims) if shape else 1
    low, high = _argument(node, 0, known, anything)
    return hull((low * terms, high * terms), (low, high) if terms else (0, 0))


def _filled(place: int) -> Rule:
    return lambda node, known, anything: _argument(node, place, known, anything)


def _fixed(low: int, high: int) -> Rule:
    return lambda node, known, anything: (low, high)


def _either(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    return hull(*(_argument(node, place, known, anything) for place in (1, 2)))


def cast(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    """Integers of another type: they are what they were, as far as it holds them."""
    return _argument(node, 0, known, anything)


def _counted(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    """An arange: from, to, step."""
    ends = [_argument(node, index, known, anything) for index in range(len(node.args[:2]))]
    return hull((0, 0), *ends)


def _position(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    return (0, max(prod(map(largest, shape_of(node_arg(node, 0)))) - 1, 0))


def _filled_in(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    """Padded, or filled where a mask says so: the last argument is the value, which is 0 where there is none."""
    value = node.args[-1] if len(node.args) > 2 else 0
    filling = known.get(value, anything) if isinstance(value, fx.Node) else None
    literal = (int(value), int(value)) if isinstance(value, int | float) else (0, 0)
    return hull(_argument(node, 0, known, anything), (0, 0), filling or literal)


def part(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    """One of several results: a value that was read, or its position."""
    whole: Any = node.args[0]
    name = schema_name(whole) if isinstance(whole, fx.Node) else ""
    if name in _POOLS_WITH_PLACES and node.args[1] == 1:
        places = prod(map(largest, shape_of(node_arg(whole, 0))[-_POOLS_WITH_PLACES[name] :]))
        return (0, max(places - 1, 0))
    if name in _WITH_POSITIONS and node.args[1] == 1:
        return _position(whole, known, anything)
    read = [known[source] for source in whole.all_input_nodes if source in known and is_integer(source)]
    return hull(*read) if read and name in MOVES_BY_NAME else anything


def _multiplied(left: int, right: int, added: int | None = None) -> Rule:
    """A product of matrices: as many products are summed as the last dimension of ``left`` is long."""

    def rule(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
        if node.kwargs:
            return anything
        shape = shape_of(node_arg(node, left))
        terms = largest(shape[-1]) if shape else 1
        product = times(_argument(node, left, known, anything), _argument(node, right, known, anything))
        total = hull(times(product, (terms, terms)), (0, 0))
        if added is None or len(node.args) <= added:
            return total
        return plus(total, _argument(node, added, known, anything))

    return rule


def _averaged(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    """The sum of a window, which is divided afterwards."""
    kernel, rank = int_list(node.args[1]), int(schema_name(node)[-2])
    terms = prod(kernel * (rank // len(kernel)))
    low, high = times(_argument(node, 0, known, anything), (terms, terms))
    return hull((low, high), (0, 0))


def _raised(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    """A product of values along a dimension, or of all."""
    shape, dim = shape_of(node_arg(node, 0)), node.args[1:2]
    terms = largest(shape[dim[0]]) if shape and dim and isinstance(dim[0], int) else prod(map(largest, shape))
    low, high = _argument(node, 0, known, anything)
    highest = max(abs(low), abs(high), 1) ** min(terms, 64)
    return (0 if low >= 0 else -highest, highest)


def _squared(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    return power(_argument(node, 0, known, anything), (2, 2))


def _scattered(place: int, sums: bool) -> Rule:
    """Values of argument ``place`` written into the first one, or all added to one of its places."""

    def rule(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
        if "prod" in node.args or node.kwargs:
            return anything
        written = _argument(node, place, known, anything)
        accumulates = place != 2 or (len(node.args) > 3 and bool(node.args[3]))
        if not sums or not accumulates:
            return hull(_argument(node, 0, known, anything), written)
        indices = node.args[1] if isinstance(node.args[1], list | tuple) else node.args[2:3]
        shapes = [shape_of(index) for index in indices if isinstance(index, fx.Node)]
        count = prod(largest(n) for shape in shapes for n in shape)
        return plus(_argument(node, 0, known, anything), hull(times(written, (count, count)), (0, 0)))

    return rule


def _count(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    """How many there are of what the operator reads, at most."""
    return plus(_position(node, known, anything), (0, 1))


def _place_among(node: fx.Node, known: Mapping[fx.Node, Interval], anything: Interval) -> Interval:
    edges = node_arg(node, 0 if schema_name(node) == "aten::searchsorted" else 1)
    return (0, largest(shape_of(edges)[-1]))


RULES: dict[Any, Rule] = {
    **dict.fromkeys((aten.add.Tensor, aten.add.Scalar, operator.add), _two(plus)),
    **dict.fromkeys((aten.sub.Tensor, aten.sub.Scalar, operator.sub), _two(minus)),
    aten.rsub.Scalar: _two(lambda a, b: minus(b, a)),
    **dict.fromkeys((aten.mul.Tensor, aten.mul.Scalar, operator.mul), _two(times)),
    **dict.fromkeys((aten.floor_divide.default, aten.floor_divide.Scalar, operator.floordiv), _two(quotient)),
    **dict.fromkeys((aten.div.Tensor_mode, aten.div.Scalar_mode), _two(quotient)),
    **dict.fromkeys((aten.remainder.Scalar, aten.remainder.Tensor, operator.mod), _two(remainder)),
    **dict.fromkeys((aten.fmod.Scalar, aten.fmod.Tensor), _two(signed_remainder)),
    **dict.fromkeys((aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar), _two(power)),
    **dict.fromkeys((aten.__lshift__.Scalar, aten.bitwise_left_shift.Tensor_Scalar), _two(left_shift)),
    **dict.fromkeys((aten.__lshift__.Tensor, aten.bitwise_left_shift.Tensor), _two(left_shift)),
    **dict.fromkeys(RIGHT_SHIFTS, _two(right_shift)),
    **dict.fromkeys((aten.__rshift__.Tensor, aten.bitwise_right_shift.Tensor), _two(right_shift)),
    **dict.fromkeys(_overloads("and"), _two(common_bits)),
    **dict.fromkeys((*_overloads("or"), *_overloads("xor")), _two(bits)),
    aten.bitwise_not.default: lambda node, known, anything: minus((-1, -1), _argument(node, 0, known, anything)),
    **dict.fromkeys((aten.maximum.default, aten.minimum.default), _two(lambda a, b: hull(a, b))),
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
    **dict.fromkeys(CASTS, cast),
    **dict.fromkeys((aten.argmax.default, aten.argmin.default, aten.nonzero.default, aten.argsort.default), _position),
    **dict.fromkeys((aten.pad.default, aten.constant_pad_nd.default, aten.tril.default, aten.triu.default), _filled_in),
    **dict.fromkeys(FILLS, _filled_in),
    aten.one_hot.default: _fixed(0, 1),
    **dict.fromkeys((aten.arange.default, aten.arange.start, aten.arange.start_step), _counted),
}

RULES_BY_NAME: dict[str, Rule] = {
    f"aten::{name}": rule
    for name, rule in {
        **dict.fromkeys(("matmul", "mm", "bmm", "dot", "vdot", "mv", "inner"), _multiplied(0, 1)),
        **dict.fromkeys(("addmm", "baddbmm", "addmv"), _multiplied(1, 2, 0)),
        "linear": _multiplied(0, 1, 2),
        **dict.fromkeys(("outer", "ger", "kron"), _two(times)),
        **dict.fromkeys(("prod", "cumprod"), _raised),
        "square": _squared,
        **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _averaged),
        **dict.fromkeys(("scatter_add", "index_add", "scatter_reduce"), _scattered(3, sums=True)),
        "index_put": _scattered(2, sums=True),
        **dict.fromkeys(("scatter", "index_copy", "index_fill"), _scattered(3, sums=False)),
        **dict.fromkeys(("select_scatter", "slice_scatter", "copy", "fill"), _scattered(1, sums=False)),
        **dict.fromkeys(("bincount", "count_nonzero"), _count),
        **dict.fromkeys(("bucketize", "searchsorted"), _place_among),
        "clamp_min": _two(lambda a, b: (max(a[0], b[0]), max(a[1], b[1]))),
        "clamp_max": _two(lambda a, b: (min(a[0], b[0]), min(a[1], b[1]))),
        "new_zeros": _fixed(0, 0),
        **dict.fromkeys(("new_ones", "eye"), _fixed(0, 1)),
        "new_full": _filled(2),
        **dict.fromkeys(("logical_not", "floor", "ceil", "round", "trunc", "relu"), cast),
    }.items()
}

_WITH_POSITIONS = frozenset(
    f"aten::{name}" for name in ("sort", "topk", "max", "min", "cummax", "cummin", "median", "kthvalue", "mode")
)
"""What returns values and their positions."""

_POOLS_WITH_PLACES = {
    f"aten::{name}": rank
    for rank in (1, 2, 3)
    for name in (f"max_pool{rank}d_with_indices", f"adaptive_max_pool{rank}d")
}
"""What returns the largest values of windows and their places among those of a channel, by the axes of these."""

MOVES = frozenset([operator.getitem])
MOVES_BY_NAME = frozenset(
    f"aten::{name}"
    for names in (
        ("clone", "contiguous", "detach", "alias", "lift_fresh_copy", "reshape", "view", "flatten", "permute"),
        ("transpose", "expand", "squeeze", "unsqueeze", "repeat", "repeat_interleave", "cat", "stack", "flip", "roll"),
        ("slice", "select", "index_select", "gather", "index", "embedding", "diagonal", "unfold", "split", "chunk"),
        ("split_with_sizes", "unbind", "sort", "topk", "max", "min", "amax", "amin"),
        ("cummax", "cummin", "median", "broadcast_to", "expand_as", "view_as", "masked_select", "take", "narrow"),
        ("movedim", "tile", "meshgrid", "swapaxes", "dropout", "_unsafe_view", "rot90"),
        ("unflatten", "ravel", "reshape_as", "t", "mT", "swapdims", "moveaxis", "hstack", "vstack", "concat"),
        ("tensor_split", "hsplit", "vsplit", "fliplr", "flipud", "take_along_dim", "as_strided", "kthvalue", "mode"),
        ("_unsafe_index", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "positive"),
        *((f"max_pool{rank}d", f"max_pool{rank}d_with_indices") for rank in (1, 2, 3)),
    )
    for name in names
)
"""What hands on its integers: the result lies within the hull of what is read."""
