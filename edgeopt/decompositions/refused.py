"""Operators that exporters compute wrongly and that no plain form is known for here: they are refused."""

from __future__ import annotations

from torch import fx

from edgeopt.analysis.integer_rules import INTEGERS
from edgeopt.errors import Placement
from edgeopt.ir.nodes import Target, aten, dtype_of
from edgeopt.ir.program import Program, op_name

_CANCELS = "the exporter's formula loses its digits far from 0"

REFUSED: dict[Target, str] = {
    aten.special_log_ndtr.default: _CANCELS,
}
"""What is refused, and why."""


_OF_FLOATS = frozenset(
    (
        *(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default),
        *(aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input),
    )
)
"""What ONNX has for floats only."""


def refused(program: Program) -> list[Placement]:
    """Return the nodes that no exporter takes from edgeopt, with the reasons."""
    found = ((node, _reason(node)) for node in program.calls)
    return [Placement(node.name, op_name(node), reason) for node, reason in found if reason is not None]


def _reason(node: fx.Node) -> str | None:
    if node.target in _OF_FLOATS and dtype_of(node) in INTEGERS:
        return "ONNX has this operator for floats only: convert its operands first"
    return REFUSED.get(node.target)
