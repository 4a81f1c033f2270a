"""Operators that exporters compute wrongly and that no plain form is known for here: they are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgeopt.errors import Placement
from edgeopt.ir.program import Program, op_name

aten = torch.ops.aten

_CANCELS = "the exporter's formula loses its digits far from 0"

REFUSED: dict[Callable[..., Any], str] = {
    aten.special_log_ndtr.default: _CANCELS,
}
"""What is refused, and why."""


def refused(program: Program) -> list[Placement]:
    """Return the nodes that no exporter takes from edgeopt, with the reasons."""
    found = ((node, REFUSED[node.target]) for node in program.calls if node.target in REFUSED)  # type: ignore[index]
    return [Placement(node.name, op_name(node), reason) for node, reason in found]
