"""What each pass did, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from edgeopt.records.form import Record
from edgeopt.records.outputs import Error

Kind = Literal["exact", "calibrated", "trained"]


@dataclass(frozen=True)
class Note(Record):
    """What a rule did at a node."""

    rule: str
    """The rule."""
    node: str
    """The node of the graph."""
    reason: str | None = None
    """Why it left the node alone; null where it rewrote it."""


@dataclass(frozen=True, kw_only=True)
class PassRecord(Record):
    """What one pass did."""

    name: str
    """The pass."""
    kind: Kind
    """Its promise."""
    changed: bool
    """Whether the graph differs after it."""
    applied: int
    """Number of places rewritten."""
    rules: Mapping[str, int] = field(default_factory=dict)
    """Number of places rewritten, by rule."""
    refused: tuple[Note, ...] = ()
    """Places matched and left alone, with reasons."""
    seconds: float
    """Time it took."""
    error: Error | None
    """Error of the program after it against the original; null where it was not measured."""
    notes: Annotated[tuple[Note, ...], Field(exclude=True)] = field(default=(), compare=False)
    """All that was done, place by place: too much for the JSON."""

    @classmethod
    def of(
        cls, name: str, kind: Kind, changed: bool, notes: Iterable[Note], seconds: float, error: Error | None
    ) -> PassRecord:
        """Return the record of a pass that made these notes."""
        notes = tuple(notes)
        applied = [note.rule for note in notes if note.reason is None]
        return cls(
            name=name,
            kind=kind,
            changed=changed,
            applied=len(applied),
            rules=dict(sorted(Counter(applied).items())),
            refused=tuple(note for note in notes if note.reason is not None),
            seconds=seconds,
            error=error,
            notes=notes,
        )
