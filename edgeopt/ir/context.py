"""What a pass cannot find in the program: needs that passes declare, and the context that is handed to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program

T = TypeVar("T")
Given = TypeVar("Given", covariant=True)


@dataclass(frozen=True, eq=False)
class Need(Generic[Given]):
    """Something of type T that passes may declare: its name in messages, and how a user gives it."""

    name: str
    remedy: str


def _silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Context:
    """What there is, by need. ``on_progress`` is told how far a slow pass is."""

    values: Mapping[Need[Any], Any] = field(default_factory=lambda: MappingProxyType({}))
    on_progress: Callable[[str], None] = _silent

    def adding(self, need: Need[T], value: T | None) -> Context:
        """Return a context with one thing more; None adds nothing."""
        if value is None:
            return self
        return Context(MappingProxyType({**self.values, need: value}), self.on_progress)

    def __contains__(self, need: Need[Any]) -> bool:
        return need in self.values

    def __getitem__(self, need: Need[T]) -> T:
        value: T = self.values[need]
        return value

    def get(self, need: Need[T]) -> T | None:
        """Return what there is of a need, or None."""
        value: T | None = self.values.get(need)
        return value


EMPTY = Context()


class Cost(NamedTuple):
    """A median cost in the target's unit (ms or instructions)."""

    value: float
    unit: str


class Timer(Protocol):
    """Measures programs where they will run."""

    @property
    def where(self) -> str:
        """The target's name."""
        ...

    def __call__(self, programs: Mapping[str, Program]) -> Mapping[str, Cost] | None:
        """Return what each program costs, measured in turn; None where one of them does not run there."""
        ...


SAMPLES: Need[Sequence[Sample]] = Need("samples", "give unlabeled ones with --tune-data")
"""Inputs that a trained pass may fit on."""
FLOAT_PROGRAM: Need[Program] = Need("the float program that was quantized", "quantize with --precision int8")
TIMER: Need[Timer] = Need("a target to measure on", "export to one that runs here")
