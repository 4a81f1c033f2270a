"""What each pass did, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeopt.records.form import Record
from edgeopt.records.outputs import Error


@dataclass(frozen=True)
class Refusal(Record):
    """A place that a rule matched and left alone."""

    rule: str
    """The rule."""
    node: str
    """The node of the graph."""
    reason: str
    """Why."""


@dataclass(frozen=True, kw_only=True)
class PassEntry(Record):
    """What one pass did."""

    name: str
    """The pass."""
    kind: Literal["exact", "calibrated", "trained"]
    """Its promise."""
    changed: bool
    """Whether the graph differs after it."""
    applied: int
    """Number of places rewritten."""
    rules: Mapping[str, int] = field(default_factory=dict)
    """Number of places rewritten, by rule."""
    refused: tuple[Refusal, ...] = ()
    """Places matched and left alone, with reasons."""
    seconds: float
    """Time it took."""
    error: Error | None
    """Error of the program after it against the original; null where it was not measured."""

    @classmethod
    def of(cls, record: Any) -> PassEntry:
        """Return the entry for what the pipeline recorded."""
        return cls(
            name=record.name,
            kind=record.kind,
            changed=record.changed,
            applied=len(record.applied),
            rules=dict(sorted(Counter(note.rule for note in record.applied).items())),
            refused=tuple(Refusal(note.rule, note.node, note.reason) for note in record.refused),
            seconds=record.seconds,
            error=record.error,
        )
