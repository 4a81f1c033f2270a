"""Between which numbers floats lie that are cast to integers: known through a few simple operators, else anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, floor, inf, isfinite, isnan, prod
from typing import Any

import torch
from torch import fx

Range = tuple[float, float]
"""Least and greatest value, both possible or not."""

ANYTHING: Range = (-inf, inf)

_MOST_CONSTANTS = 4096
_LARGEST = torch.finfo(torch.float32).max

Read = Callable[[object], Range]
"""The range of an argument: of a node or a number."""


def is_float(node: object) -> bool:
    """Return whether a node's value is a tensor of floats."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def is_known(interval: Range) -> bool:
    """Return whether an interval ends on both sides."""
    return all(map(isfinite, interval))


def of_constant(tensor: torch.Tensor) -> Range:
    """Return the range of a tensor's values; of a large one, such as weights, it is not looked for."""
    if not 0 < tensor.numel() <= _MOST_CONSTANTS:
        return ANYTHING
    low, high = float(tensor.min()), float(tensor.max())
    return (low, high) if is_known((low, high)) else ANYTHING


def of_call(node: fx.Node, ranges: Mapping[fx.Node, Range], moves: bool) -> Range:
    """Return the range of a call that returns floats.

    ``ranges``: of what it reads, integers too. ``moves``: whether it hands on values that it reads.
    """

    def read(argument: object) -> Range:
        if isinstance(argument, int | float):
            return (argument, argument)
        return ranges.get(argument, ANYTHING) if isinstance(argument, fx.Node) else ANYTHING

    name = node.target._schema.name.removeprefix("aten::") if isinstance(node.target, torch._ops.OpOverload) else ""
    if moves or name in _WITHIN:
        found = _hull(*(read(source) for source in node.all_input_nodes if is_float(source)))
    else:
        found = _RULES[name](node, read) if name in _RULES else ANYTHING
    return ANYTHING if any(map(isnan, found)) else _in_float32(found)


def _in_float32(found: Range) -> Range:
    return (found[0] if found[0] >= -_LARGEST else -inf, found[1] if found[1] <= _LARGEST else inf)


# -- rules -------------------------------------------------------------------------------------------------

Rule = Callable[[fx.Node, Read], Range]


def _argument(node: fx.Node, index: int) -> object:
    return node.args[index] if len(node.args) > index else None


def _two(combine: Callable[[Range, Range], Range]) -> Rule:
    def rule(node: fx.Node, read: Read) -> Range:
        scale = node.kwargs.get("alpha", 1)
        return combine(read(node.args[0]), _times(read(node.args[1]), read(scale)))

    return rule


def _one(change: Callable[[Range], Range]) -> Rule:
    return lambda node, read: change(read(node.args[0]))


def _plus(a: Range, b: Range) -> Range:
    return (a[0] + b[0], a[1] + b[1])


def _minus(a: Range, b: Range) -> Range:
    return (a[0] - b[1], a[1] - b[0])


def _times(a: Range, b: Range) -> Range:
    """Nothing times anything is nothing: the ends stand for values that are finite."""
    products = [x * y if x and y else 0.0 for x in a for y in b]
    return (min(products), max(products))


def _over(a: Range, b: Range) -> Range:
    return ANYTHING if b[0] <= 0 <= b[1] else _times(a, (1 / b[1], 1 / b[0]))


def _modulo(a: Range, b: Range) -> Range:
    largest = max(map(abs, b))
    return (-largest, largest)


def _hull(*intervals: Range) -> Range:
    found = intervals or (ANYTHING,)
    return (min(low for low, _ in found), max(high for _, high in found))


def _whole(a: Range) -> Range:
    return (floor(a[0]) if isfinite(a[0]) else a[0], ceil(a[1]) if isfinite(a[1]) else a[1])


def _negated(a: Range) -> Range:
    return (-a[1], -a[0])


def _absolute(a: Range) -> Range:
    return (0.0, max(map(abs, a)))


def _product(node: fx.Node, read: Read) -> Range:
    found = _two(_times)(node, read)
    return (max(found[0], 0.0), found[1]) if node.args[0] is node.args[1] else found


def _raised(node: fx.Node, read: Read) -> Range:
    exponent = _argument(node, 1)
    return (0.0, inf) if exponent in (2, 4, 6, 8) else ANYTHING


def _divided(node: fx.Node, read: Read) -> Range:
    found = _two(_over)(node, read)
    return _whole(found) if node.kwargs.get("rounding_mode") else found


def _clamped(least: float | None = None, most: float | None = None) -> Rule:
    """Within arguments 1 and 2, or within these numbers where the operator has none."""

    def rule(node: fx.Node, read: Read) -> Range:
        low, high = read(node.args[0])
        lower, upper = (_argument(node, place) for place in (1, 2))
        below = read(least if lower is None else lower) if (least, lower) != (None, None) else (-inf, -inf)
        above = read(most if upper is None else upper) if (most, upper) != (None, None) else (inf, inf)
        low, high = max(low, below[0]), max(high, below[1])
        return (min(low, above[0]), min(high, above[1]))

    return rule


def _at_least(node: fx.Node, read: Read) -> Range:
    (low, high), (least, most) = read(node.args[0]), read(node.args[1])
    return (max(low, least), max(high, most))


def _at_most(node: fx.Node, read: Read) -> Range:
    (low, high), (least, most) = read(node.args[0]), read(node.args[1])
    return (min(low, least), min(high, most))


def _summed(node: fx.Node, read: Read) -> Range:
    source: Any = node.args[0]
    sizes = [size if isinstance(size, int) else inf for size in source.meta["val"].shape]
    return _times(_hull(read(source), (0.0, 0.0)), (1.0, prod(sizes)))


def _fixed(low: float, high: float) -> Rule:
    return lambda node, read: (low, high)


def _among(*places: int) -> Rule:
    return lambda node, read: _hull(*(read(_argument(node, place)) for place in places))


_RULES: dict[str, Rule] = {
    "add": _two(_plus),
    "sub": _two(_minus),
    "rsub": _two(lambda a, b: _minus(b, a)),
    "mul": _product,
    "pow": _raised,
    **dict.fromkeys(("exp", "exp2", "square", "sqrt", "rsqrt", "softplus"), _fixed(0.0, inf)),
    **dict.fromkeys(("var", "std", "norm", "linalg_vector_norm"), _fixed(0.0, inf)),
    "div": _divided,
    "remainder": _two(_modulo),
    "fmod": _two(_modulo),
    "neg": _one(_negated),
    "abs": _one(_absolute),
    **dict.fromkeys(("round", "floor", "ceil", "trunc"), _one(_whole)),
    "clamp": _clamped(),
    "hardtanh": _clamped(-1.0, 1.0),
    **dict.fromkeys(("clamp_min", "maximum"), _at_least),
    **dict.fromkeys(("clamp_max", "minimum"), _at_most),
    "relu": _clamped(least=0.0),
    "relu6": _clamped(0.0, 6.0),
    **dict.fromkeys(("sigmoid", "softmax", "_softmax", "hardsigmoid", "rand", "rand_like"), _fixed(0.0, 1.0)),
    **dict.fromkeys(("tanh", "sin", "cos", "erf", "sign"), _fixed(-1.0, 1.0)),
    **dict.fromkeys(("sum", "cumsum"), _summed),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _among(0)),
    "where": _among(1, 2),
    "masked_fill": _among(0, 2),
    **dict.fromkeys(("full", "full_like"), _among(1)),
    "scalar_tensor": _among(0),
    **dict.fromkeys(("zeros", "zeros_like"), _fixed(0.0, 0.0)),
    **dict.fromkeys(("ones", "ones_like"), _fixed(1.0, 1.0)),
    **dict.fromkeys(("arange", "linspace"), lambda node, read: _hull((0.0, 0.0), *map(read, node.args[:2]))),
}

_WITHIN = frozenset(
    ("dropout", "mean", "max_pool1d", "max_pool2d", "upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d")
)
"""What returns values between those that it reads."""
