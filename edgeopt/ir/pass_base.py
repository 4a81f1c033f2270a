"""What a pass is: a substitution that takes a program and returns a new one, and says what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from edgeopt.ir.program import Program
from edgeopt.records.outputs import Error

Kind = Literal["exact", "calibrated", "trained"]


@dataclass(frozen=True)
class Note:
    """What a rule did at a node: applied where ``reason`` is None, refused for the reason otherwise."""

    rule: str
    node: str
    reason: str | None = None


@dataclass(frozen=True)
class PassResult:
    """The program a pass made, whether it differs, and what each rule did."""

    program: Program
    changed: bool
    notes: tuple[Note, ...] = ()


@runtime_checkable
class Pass(Protocol):
    """A substitution. It returns a new program and leaves the given one as it was."""

    name: str
    kind: Kind

    def __call__(self, program: Program) -> PassResult:
        """Apply the pass."""
        ...


@dataclass(frozen=True)
class Step:
    """A pass in a target's pipeline and why it stands there."""

    build: Callable[[], Pass]
    reason: str


@dataclass(frozen=True)
class PassRecord:
    """What one pass did: its notes, seconds, and the error after it against the original."""

    name: str
    kind: Kind
    changed: bool
    notes: tuple[Note, ...]
    seconds: float
    error: Error | None

    @property
    def applied(self) -> tuple[Note, ...]:
        """Notes of rules that rewrote."""
        return tuple(note for note in self.notes if note.reason is None)

    @property
    def refused(self) -> tuple[Note, ...]:
        """Notes of rules that matched and refused."""
        return tuple(note for note in self.notes if note.reason is not None)
