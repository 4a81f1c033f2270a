"""Operators of other libraries, told from torch's own and from those that are registered here."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

from edgeopt.ops.operator import operator_of

_OF_TORCH = frozenset({"aten", "prims", "prim", "quantized", "quantized_decomposed"})

WAYS_OUT = (
    "give it a decomposition (torch.library, CompositeImplicitAutograd), register it in the entry-point group "
    "edgeopt.operators, or replace it in the model by torch's own operators"
)
"""What helps where a target does not know a custom operator."""


def custom_operators(nodes: Iterable[fx.Node]) -> dict[torch._ops.OpOverload, None]:
    """Return the operators that nodes call and that neither torch nor edgeopt knows more of than how to call them."""
    called = (node.target for node in nodes if node.op == "call_function")
    return {
        target: None
        for target in called
        if isinstance(target, torch._ops.OpOverload)
        and target.namespace not in _OF_TORCH
        and operator_of(target) is None
    }
