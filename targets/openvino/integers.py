"""What OpenVINO's CPU plug-in does with integers, and what has to be written otherwise, bounded or refused for it.

It keeps 64-bit integers in 32 bits, saturates where 8-bit ones wrap, and computes some operators of integers in
float32, which is exact up to 2^24 (measured with 2026.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.integer_ranges import bound_by_index, casts_floats, float_casts, integer_ranges, of_dtype
from edgeopt.analysis.integer_rules import is_integer
from edgeopt.analysis.intervals import Interval, within
from edgeopt.errors import Placement
from edgeopt.ir.nodes import aten, node_arg
from edgeopt.ir.program import Program, op_name
from edgeopt.ir.rewrite import arguments
from edgeopt.ir.rewrite import replace as replace_node
from edgeopt.ops.opsets import CASTS, RIGHT_SHIFTS

LARGEST_IN_FLOAT = 2**24
_IN_32_BITS = of_dtype(torch.int32)
_EXACT_IN_FLOAT = (-LARGEST_IN_FLOAT, LARGEST_IN_FLOAT)
_BOUNDS = (2**31 - 1, *(2**bits for bits in range(30, 7, -1)))

_IN_FLOAT = frozenset(
    f"aten::{name}"
    for names in (
        ("floor_divide", "div", "remainder", "fmod", "pow", "__rshift__", "bitwise_right_shift", "eq", "ne"),
        ("sum", "prod", "cumprod", "amax", "amin", "max", "min"),
        ("matmul", "mm", "bmm", "addmm", "baddbmm", "addmv", "linear", "dot", "vdot", "mv", "inner", "einsum"),
        ("scatter_add", "scatter_reduce", "index_add", "index_put", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    )
    for name in names
)
_SHIFTS_BY_TENSORS = (aten.__rshift__.Tensor, aten.bitwise_right_shift.Tensor)
_WRAPPING = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.rsub.Scalar, aten.neg.default, aten.abs.default)
_NARROW = (torch.uint8, torch.int8, torch.int16)


def bound(program: Program) -> tuple[int, list[Placement]]:
    """Return how large integers that nothing bounds may be for OpenVINO to compute as torch does.

    Where there is no such bound, the nodes that stand in the way of the least one.
    """
    faults: list[Placement] = []
    for assumed in _BOUNDS:
        faults = _faults(program, integer_ranges(program, assumed))
        if not faults:
            return assumed, []
    return 0, faults


def unbounded_inputs(program: Program, assumed: int) -> dict[str, Interval]:
    """Return the interval of every input that no index bounds, where it is less than its type's: of integers, and of
    floats that become integers."""
    intervals = {node.name: (-assumed, assumed) for node in float_casts(program).inputs}
    for node in program.input_nodes:
        dtype = node.meta["val"].dtype
        if not is_integer(node) or bound_by_index(program, node) is not None:
            continue
        if not within(of_dtype(dtype), (-assumed, assumed)):
            intervals[node.name] = (max(-assumed, of_dtype(dtype)[0]), min(assumed, of_dtype(dtype)[1]))
    return {name: interval for name, interval in intervals.items() if interval != _IN_32_BITS}


def unbounded_casts(program: Program) -> tuple[fx.Node, ...]:
    """Return the nodes that make integers of floats that no bound of an input bounds."""
    return float_casts(program).unbounded


def _faults(program: Program, ranges: Mapping[fx.Node, Interval]) -> list[Placement]:
    found = []
    for node in program.graph.nodes:
        if node.op == "call_function" and (reason := _fault(node, ranges)) is not None:
            found.append(Placement(node.name, op_name(node), reason))
    return found


def _fault(node: fx.Node, ranges: Mapping[fx.Node, Interval]) -> str | None:
    value = node.meta["val"]
    sources = [source for source in node.all_input_nodes if is_integer(source)]
    if not isinstance(value, torch.Tensor) or value.is_floating_point() or any(_is_wide(s, ranges) for s in sources):
        return None
    touched = [ranges[one] for one in (*sources, node) if one in ranges]
    constants = [source for source in sources if source.op == "placeholder"]
    if ranges.get(node) == of_dtype(torch.int64):
        return "nothing bounds its integers, and OpenVINO computes integers in 32 bits"
    if _is_wide(node, ranges) or any(not within(ranges[source], _IN_32_BITS) for source in constants):
        return f"its integers reach {_extreme(touched)}, and OpenVINO computes integers in 32 bits"
    if node.target in _SHIFTS_BY_TENSORS and not _shifts_rightly(ranges[node_arg(node, 0)], ranges[node_arg(node, 1)]):
        return "OpenVINO shifts to the right by a tensor rightly where no integer is negative and by at most 31 places"
    if sources and _schema(node) in _IN_FLOAT and any(not within(one, _EXACT_IN_FLOAT) for one in touched):
        return (
            f"its integers reach {_extreme(touched)}, and OpenVINO computes this operator in float32, which holds "
            f"integers up to {LARGEST_IN_FLOAT:,}"
        )
    return None


def _shifts_rightly(shifted: Interval, places: Interval) -> bool:
    return within(shifted, (0, _IN_32_BITS[1])) and within(places, (0, 31))


def _is_wide(node: fx.Node, ranges: Mapping[fx.Node, Interval]) -> bool:
    """Return whether a call returns more than 32 bits hold: it is named, and not its readers."""
    value = node.meta["val"]
    counts = isinstance(value, torch.Tensor) and (value.dtype == torch.int64 or casts_floats(node))
    return node.op == "call_function" and counts and not within(ranges[node], _IN_32_BITS)


def _extreme(intervals: list[Interval]) -> str:
    return f"{max((end for interval in intervals for end in interval), key=abs):,}"


def _schema(node: fx.Node) -> str:
    return node.target._schema.name if isinstance(node.target, torch._ops.OpOverload) else ""


# -- what is written otherwise -----------------------------------------------------------------------------


def rewritten(program: Program) -> Program:
    """Return the program with shifts to the right as divisions, and with integers of few bits that wrap as torch's."""
    ranges = integer_ranges(program, _BOUNDS[0])
    shifts = [node.name for node in program.calls if node.target in RIGHT_SHIFTS]
    wrapping = [node.name for node in program.calls if _wraps(node, ranges)]
    if not shifts and not wrapping:
        return program
    program = program.clone()
    for node in list(program.calls):
        if node.name in shifts:
            divisor = 2 ** arguments(node)["other"]
            replace_node(node, program.insert(node, aten.floor_divide.default, node.args[0], divisor))
        elif node.name in wrapping:
            _wrap(program, node)
    program.clean()
    return program


def _wraps(node: fx.Node, ranges: Mapping[fx.Node, Interval]) -> bool:
    value = node.meta["val"]
    narrow = isinstance(value, torch.Tensor) and value.dtype in _NARROW and node.target in (*_WRAPPING, *CASTS)
    return narrow and not within(ranges[node], of_dtype(value.dtype))


def _wrap(program: Program, node: fx.Node) -> None:
    """Compute in 32 bits, and keep the last ones."""
    dtype = node.meta["val"].dtype
    low, high = of_dtype(dtype)

    def widen(argument: Any) -> Any:
        return program.insert(node, aten.to.dtype, argument, torch.int32) if is_integer(argument) else argument

    if node.target in CASTS:
        wide = program.insert(node, aten.to.dtype, node.args[0], torch.int32)
    else:
        wide = program.insert(node, node.target, *map(widen, node.args), **node.kwargs)
    if low:
        wide = program.insert(node, aten.sub.Tensor, wide, low)
    last = program.insert(node, aten.bitwise_and.Scalar, wide, high - low)
    if low:
        last = program.insert(node, aten.add.Tensor, last, low)
    replace_node(node, program.insert(node, aten.to.dtype, last, dtype))
