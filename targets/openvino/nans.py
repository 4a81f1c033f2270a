"""NaN that a model itself makes, and that OpenVINO's CPU plug-in answers with numbers: no verification input shows it.

Inputs on which the original answers with NaN are left out of verification, so what follows a logarithm, a root or a
quotient that may be NaN is not judged where it is. That is told, unless the operand's range rules NaN out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from edgeopt.analysis.float_ranges import ANYTHING, Range, is_float
from edgeopt.analysis.integer_ranges import float_ranges_of
from edgeopt.ir.program import Program
from edgeopt.ir.provenance import titled
from edgeopt.ir.rewrite import arguments

_HIDING = frozenset(
    f"aten::{name}"
    for names in (
        ("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "maximum", "minimum"),
        ("sign", "argmax", "argmin"),
    )
    for name in names
)
"""What answers NaN with numbers."""

_LEAST = {
    **dict.fromkeys(("aten::log", "aten::log2", "aten::log10", "aten::sqrt", "aten::rsqrt"), 0.0),
    "aten::log1p": -1.0,
}
"""What is NaN of numbers below some."""

_MOST_TOLD = 3


def notes(program: Program) -> tuple[str, ...]:
    """Return a sentence that names what hides NaN, and what may make it; nothing where there is none."""
    found = _hidden(program)
    if not found:
        return ()
    pairs = [f"{titled(hiding)} after {titled(maker)}" for hiding, maker in found[:_MOST_TOLD]]
    more = f" and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    return (
        f"not judged where the model itself makes NaN, which OpenVINO answers with numbers: {', '.join(pairs)}{more}",
    )


def _hidden(program: Program) -> list[tuple[fx.Node, fx.Node]]:
    """Return the nodes that hide NaN with that which may make it, the first ones alone."""
    ranges = float_ranges_of(program)
    makers: dict[fx.Node, fx.Node] = {}
    found = []
    for node in program.calls:
        maker = next((makers[source] for source in node.all_input_nodes if source in makers), None)
        if maker is not None and _schema(node) in _HIDING:
            found.append((node, maker))
        elif is_float(node) and (maker is not None or _makes(node, ranges)):
            makers[node] = maker or node
    return found


def _makes(node: fx.Node, ranges: Mapping[fx.Node, Range]) -> bool:
    """Return whether a node may be NaN where its operands are numbers."""
    name = _schema(node)
    if name in _LEAST:
        return ranges.get(node.all_input_nodes[0], ANYTHING)[0] < _LEAST[name]
    if name not in ("aten::div", "aten::true_divide"):
        return False
    divisor = arguments(node)["other"]
    low, high = ranges.get(divisor, ANYTHING) if isinstance(divisor, fx.Node) else (divisor, divisor)
    return low <= 0 <= high


def _schema(node: fx.Node) -> str:
    return node.target._schema.name if isinstance(node.target, torch._ops.OpOverload) else ""
