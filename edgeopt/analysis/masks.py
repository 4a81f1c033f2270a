"""What an attention may look at: full, causal, a sliding window, padding left out, a bias added.

A mask is judged by its value. The part of the graph that makes it is evaluated with all positions present (the
model's integer and boolean inputs at one, or at zero where that blocks everything), and the matrix is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx

from edgeopt.analysis.walk import evaluate
from edgeopt.ir.program import Program

_BLOCKED = -1e4
"""Additive masks write this or less where attention is blocked; no bias reaches it."""
_BLOCKED_ALONE = -50.0
"""Some write only -100, whose exponential is 0 in float32: blocked, where no value leads there gradually."""
_LARGEST_SUBGRAPH = 200


@dataclass(frozen=True)
class Term:
    """One mask on the scores: added to them, or saying where it allows or blocks."""

    node: fx.Node
    meaning: Literal["added", "allows", "blocks"]


@dataclass(frozen=True)
class Mask:
    """``window``: keys before the query that it sees, itself included, where that is limited. ``padding``: an
    input of the model says which keys count. ``fixed``: other pairs are blocked, the same on every run.
    ``bias``: finite values are added, ``computed`` where they depend on the activations."""

    causal: bool = False
    window: int | None = None
    padding: bool = False
    fixed: bool = False
    bias: bool = False
    computed: bool = False

    def __str__(self) -> str:
        parts = [name for name in ("causal", "padding", "fixed") if getattr(self, name)]
        parts += [f"window {self.window}"] if self.window is not None else []
        parts += ["computed bias" if self.computed else "bias"] if self.bias else []
        return ", ".join(parts) or "none"


def mask_of(program: Program, terms: Sequence[Term], causal: bool = False) -> Mask:
    """Return what the terms say together; ``causal`` is the flag of a fused attention."""
    found = [_judge(program, term) for term in terms]
    return Mask(
        causal=causal or any(mask.causal for mask in found),
        window=min((mask.window for mask in found if mask.window is not None), default=None),
        padding=any(mask.padding for mask in found),
        fixed=any(mask.fixed for mask in found),
        bias=any(mask.bias for mask in found),
        computed=any(mask.computed for mask in found),
    )


def _judge(program: Program, term: Term) -> Mask:
    inputs = _leaves(program, term.node)
    if inputs is None:
        return Mask(bias=True, computed=True)
    padding = bool(inputs)
    for fill in (1, 0):
        value = evaluate(program, term.node, {node: _filled(node, fill) for node in inputs})
        allowed, is_biased = _read(value, term)
        if allowed.any():
            break
    allowed = allowed.reshape(-1, *allowed.shape[-2:]) if allowed.dim() >= 2 else allowed.reshape(1, 1, -1)
    if allowed.all():
        return Mask(padding=padding, bias=is_biased)
    causal, window = _shape_of(allowed)
    return Mask(causal, window, padding, not causal, is_biased)


def _leaves(program: Program, node: fx.Node) -> list[fx.Node] | None:
    """Return the inputs that a mask is made of; None where it is made of activations."""
    inputs, pending, seen = [], [node], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        if len(seen) > _LARGEST_SUBGRAPH:
            return None
        if current.op == "placeholder" and current.name not in program.constants:
            if current.meta["val"].is_floating_point():
                return None
            inputs.append(current)
        pending += current.all_input_nodes
    return inputs


def _filled(node: fx.Node, value: int) -> torch.Tensor:
    sizes = [size if isinstance(size, int) else size.node.hint for size in node.meta["val"].shape]
    return torch.full(sizes, value, dtype=node.meta["val"].dtype)


def _read(value: torch.Tensor, term: Term) -> tuple[torch.Tensor, bool]:
    """Return where attention is allowed, and whether finite values are added there."""
    if value.dtype == torch.bool:
        return (~value if term.meaning == "blocks" else value), False
    is_gradual = bool(((value <= _BLOCKED_ALONE / 2) & (value > _BLOCKED_ALONE)).any())
    allowed = value > (_BLOCKED if is_gradual else _BLOCKED_ALONE)
    return allowed, bool(value[allowed].any())


def _shape_of(allowed: torch.Tensor) -> tuple[bool, int | None]:
    """Return whether a mask [any, queries, keys] is causal, and the window of a band."""
    queries, keys = allowed.shape[-2:]
    distance = torch.arange(queries)[:, None] + (keys - queries) - torch.arange(keys)
    seen = distance[allowed.any(0)]
    low, high = int(seen.min()), int(seen.max())
    is_band = bool((allowed == ((distance >= low) & (distance <= high))).all())
    if not is_band or queries == 1:
        return False, None
    return low == 0, high + 1 if high < keys - 1 else None
