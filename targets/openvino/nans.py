"""NaN that a model itself makes, and that OpenVINO's CPU plug-in answers with numbers: no verification input shows it.

Inputs on which the original answers with NaN are left out of verification, so what follows a logarithm, a root or a
quotient that may be NaN is not judged where it is, nor what follows 0 * inf or inf - inf. That is told, unless the
operands' ranges rule NaN out.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from torch import fx

from edgeopt.analysis.float_ranges import ANYTHING, Range, is_float
from edgeopt.analysis.infinities import make_nan
from edgeopt.analysis.integer_ranges import float_ranges_of
from edgeopt.analysis.integer_rules import schema_name
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

_DOMAINS: dict[str, Range] = {
    **dict.fromkeys(("aten::log", "aten::log2", "aten::log10", "aten::sqrt", "aten::rsqrt"), (0.0, inf)),
    "aten::log1p": (-1.0, inf),
    **dict.fromkeys(("aten::asin", "aten::acos", "aten::atanh"), (-1.0, 1.0)),
    "aten::acosh": (1.0, inf),
}
"""Between which numbers an operand is not NaN afterwards."""

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
    of_infinities = make_nan(program, ranges)
    makers: dict[fx.Node, fx.Node] = {}
    found = []
    for node in program.calls:
        maker = next((makers[source] for source in node.all_input_nodes if source in makers), None)
        if maker is not None and schema_name(node) in _HIDING:
            found.append((node, maker))
        elif is_float(node) and (maker is not None or node in of_infinities or _makes(node, ranges)):
            makers[node] = maker or node
    return found


def _makes(node: fx.Node, ranges: Mapping[fx.Node, Range]) -> bool:
    """Return whether a node may be NaN where its operands are numbers."""
    name = schema_name(node)
    if name in _DOMAINS:
        (low, high), (least, most) = ranges.get(node.all_input_nodes[0], ANYTHING), _DOMAINS[name]
        return low < least or high > most
    if name not in ("aten::div", "aten::true_divide"):
        return False
    divisor = arguments(node)["other"]
    low, high = ranges.get(divisor, ANYTHING) if isinstance(divisor, fx.Node) else (divisor, divisor)
    return low <= 0 <= high
