"""What differs between the exports of two bundles, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeopt.records.form import Record
from edgeopt.records.limits import Limit, Unit

Kind = Literal["setting", "option", "version", "pass", "layer", "fallback", "limit", "file"]


@dataclass(frozen=True)
class FigureChange(Record):
    """A figure of both exports, changed or not."""

    name: str
    """The figure."""
    unit: Unit
    """Its unit; `latency` as under `latency_unit`."""
    before: float | None
    """Its value in the first export; null where it has none, an infinite one, or one in another unit."""
    after: float | None
    """Its value in the second."""


@dataclass(frozen=True)
class TextChange(Record):
    """Anything else that differs."""

    kind: Kind
    """What it is."""
    name: str
    """Which one: an option, a package, a pass with its place among those of its name, a node, a limit, a file."""
    before: str | None
    """What it is in the first export; null where it has none."""
    after: str | None
    """What it is in the second."""


@dataclass(frozen=True, kw_only=True)
class Changes(Record):
    """What differs between two exports, the first of which is the older."""

    before: str
    """The folder of the first."""
    after: str
    """The folder of the second."""
    latency_unit: str
    """Unit of latencies: that of the second export."""
    figures: tuple[FigureChange, ...]
    """Sizes, errors, accuracies, latencies."""
    texts: tuple[TextChange, ...]
    """What else differs."""
    limits: tuple[Limit, ...]
    """Limits that were stated on the figures."""

    @property
    def ok(self) -> bool:
        """Whether all limits hold."""
        return all(limit.ok for limit in self.limits)
