"""What a trained pass leaves behind for tuning: which values are computed anew, from what, with which parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import fx

from edgeopt.ir.pass_base import Kind, Note, PassResult
from edgeopt.ir.program import Program, origin


@dataclass(frozen=True)
class Start:
    """``learn`` finds constants, by name, from the original's values labeled ``reads``, [samples, ...] each."""

    reads: tuple[str, ...]
    learn: Callable[..., dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Swap:
    """A value of the original, by its label (see ``edgeopt.ir.program.origin``), that a swapped program computes anew.

    It is computed from the values labeled ``inputs`` with the constants ``parameters``, among them weights that the
    original has too. ``is_fitted``: they are at their best on the original's values already. ``fades``: a constant
    that is 0, and that stage 2 lets fall from 1 to 0 while the given part of its budget is spent. ``start``: how its
    constants are found before any is tuned.
    """

    original: str
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    is_fitted: bool = False
    fades: tuple[str, float] | None = None
    start: Start | None = None


class Swapper(Protocol):
    """A trained pass. It leaves the values labeled in ``keep`` alone; ``swaps`` are those of its last run."""

    name: str
    kind: Kind
    keep: Collection[str]
    swaps: tuple[Swap, ...]

    def __call__(self, program: Program) -> PassResult:
        """Swap in a copy of ``program``; nothing is tuned."""
        ...


KEPT = "it hurt the outputs most, and a limit holds without it"
"""Reason at a place that was given back to the original."""


def kept(rule: str, node: fx.Node) -> Note:
    """Return the note on a place that was given back."""
    return Note(rule, node.name, KEPT)


def inputs_of(program: Program, node: fx.Node, known: Iterable[fx.Node]) -> tuple[str, ...]:
    """Return the labels of the values to compute ``node`` from: those known, sizes, and inputs of the model."""
    given, found, pending = set(known), dict[str, None](), [node]
    seen: set[fx.Node] = set()
    while pending:
        current = pending.pop()
        if current in seen or current.name in program.constants:
            continue
        seen.add(current)
        is_size = isinstance(current.meta["val"], int | torch.SymInt)
        if current in given or is_size or current.op == "placeholder":
            found[origin(current)] = None
        else:
            pending += current.all_input_nodes
    return tuple(found)
