"""What a trained pass leaves behind for tuning: which values are computed anew, from what, with which parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import fx

from edgeopt.ir.context import EMPTY, SAMPLES, Context
from edgeopt.ir.metrics import Sample
from edgeopt.ir.pass_base import Note
from edgeopt.ir.program import Program, origin
from edgeopt.ir.selective import FITS, FittedResult, SelectivePass

T = TypeVar("T")


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


@dataclass(frozen=True)
class SwapResult(FittedResult):
    """``swaps``: what tuning has to know. ``figures``: what was measured on the target."""

    swaps: tuple[Swap, ...] = ()
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Swapper(SelectivePass):
    """A pass that swaps layers for others, which are then tuned. It leaves the values labeled in ``keep`` alone."""

    kind = "trained"

    @abstractmethod
    def run(self, program: Program, context: Context) -> SwapResult:
        """Swap in a copy of ``program``; nothing is tuned."""

    def __call__(self, program: Program, context: Context = EMPTY) -> SwapResult:
        """Swap in a copy of ``program``; nothing is tuned."""
        result = super().__call__(program, context)
        assert isinstance(result, SwapResult)
        return result


@dataclass(frozen=True)
class Fits(Generic[T]):
    """What a swapper fitted to samples, by node of the program with that fingerprint."""

    fingerprint: str
    by_node: Mapping[str, T]


@dataclass(frozen=True)
class FittedSwapper(Swapper, Generic[T]):
    """A swapper that fits what it inserts to samples, by node: once for each program."""

    needs = (SAMPLES,)
    uses = (FITS,)

    @abstractmethod
    def fit(self, program: Program, samples: Sequence[Sample]) -> Mapping[str, T]:
        """Return what is fitted, by node."""

    def known_fits(self, program: Program, context: Context) -> Fits[T]:
        """Return what is fitted to the context's samples, as an earlier run on the program found it or anew."""
        known: Fits[T] | None = self.fitted(context)
        fingerprint = program.fingerprint()
        if known is not None and known.fingerprint == fingerprint:
            return known
        return Fits(fingerprint, self.fit(program, context[SAMPLES]))


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
