"""A limit, what was measured of it, and whether it holds, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from edgeopt.records.form import Record

Unit = Literal["latency", "bytes", "share", "ratio", "cosine", "dB", "elements", "number"]
Direction = Literal["most", "least"]


@dataclass(frozen=True)
class Limit(Record):
    """A limit, stated or by default, and whether it holds."""

    name: str
    """The option that states it, such as `max-latency`, or the name of a default limit."""
    direction: Direction
    """Whether the limit is the most or the least that is allowed."""
    unit: Unit
    """Unit of limit and value: `latency` as under `latency`, `share` from 0 to 1, `ratio` of an error to the largest
    value."""
    limit: float
    """The limit."""
    value: float | None = None
    """What was measured; null where it could not be, or is not finite."""
    ok: bool = False
    """Whether it holds."""
    is_default: bool = False
    """Whether it holds for every export, stated or not."""
    output: str | None = None
    """The output that is worst in it, of a default limit."""

    def holds(self, value: float | None) -> bool:
        """Whether a value is within the limit; none, and NaN, are not."""
        return value is not None and (value <= self.limit if self.direction == "most" else value >= self.limit)

    def judged(self, value: float | None, ok: bool | None = None) -> Limit:
        """Return the limit with what was measured, and whether it holds; ``ok`` where more than the value decides."""
        shown = value if value is not None and math.isfinite(value) else None
        return replace(self, value=shown, ok=self.holds(value) if ok is None else ok)
