"""``ranges.json``: the calibrated ranges of a model, made to be read and reviewed in a diff.

Keys are sorted, a value a line. The file names what it was computed from (hashes of the model and of the data), how
(the method), and for each range the operator and what was observed before the method clipped it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgeopt.errors import UserError, quoted
from edgeopt.files import reading
from edgeopt.ir.program import Range

SCHEMA_VERSION = 1
_LARGEST = 3.4028234663852886e38
"""Of float32."""
OWN_RANGES = r'"edgeopt": "[^"]*",\s*"method": '
"""Expression found in the beginning of every ``ranges.json``."""


@dataclass(frozen=True)
class TensorRange:
    """Range of one value: the operator that makes it, the range chosen, what was observed, and how it came about."""

    op: str
    low: float
    high: float
    observed_low: float
    observed_high: float
    how: str


@dataclass(frozen=True)
class Ranges:
    """All ranges of a model; ``tensors`` maps node names to them."""

    model: str
    data: str
    samples: int
    method: str
    edgeopt: str
    tensors: Mapping[str, TensorRange]

    def program_ranges(self) -> dict[str, Range]:
        """Return the ranges as a Program holds them."""
        return {name: Range((t.low,), (t.high,)) for name, t in self.tensors.items()}

    def to_json(self) -> str:
        """Return the content of ``ranges.json``."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> Ranges:
        """Read the content of ``ranges.json``.

        Raises UserError where it is none, or of another schema version.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            version = content.pop("schema_version")
            if version != SCHEMA_VERSION:
                found = f"{source} has schema version {quoted(version)}"
                raise UserError(f"{found}, this is {SCHEMA_VERSION}", "calibrate again")
            tensors = {name: _read(name, entry, source) for name, entry in content["tensors"].items()}
            return cls(**{**content, "tensors": tensors})
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else "it is of another form"
            raise UserError(f"{source} holds no ranges: {reason}", "write it with edgeopt calibrate") from error


def _read(name: str, entry: Any, source: str) -> TensorRange:
    wanted = [field.name for field in fields(TensorRange)]
    if not isinstance(entry, dict) or entry.keys() != set(wanted):
        raise UserError(
            f"{source} gives '{name}' {quoted(entry)}, not a range", f"give {', '.join(wanted)}, or calibrate again"
        )
    tensor = TensorRange(**entry)
    ends = (tensor.low, tensor.high)
    if not all(type(end) in (int, float) and abs(end) <= _LARGEST for end in ends) or tensor.low > tensor.high:
        raise UserError(
            f"{source} gives '{name}' the range from {quoted(tensor.low)} to {quoted(tensor.high)}",
            "give numbers of float32, the lower first, or calibrate again",
        )
    return tensor


def read_ranges(file: Path) -> Ranges:
    """Read ``ranges.json``; raises UserError where it is missing or holds no ranges."""
    with reading(file, "write it with edgeopt calibrate"):
        return Ranges.from_json(file.read_text("utf-8"), str(file))


@dataclass(frozen=True)
class Drift:
    """A value whose range moved; ``share`` is the larger move of an end over the old width, None where it is new
    or gone.
    """

    tensor: str
    share: float | None
    fact: str


def drifts(old: Ranges, new: Ranges, bound: float) -> list[Drift]:
    """Return the values whose range moved by more than ``bound`` (a share of the old width), largest first."""
    found = []
    for name in sorted(old.tensors.keys() | new.tensors.keys()):
        before, after = old.tensors.get(name), new.tensors.get(name)
        if before is None or after is None:
            found.append(Drift(name, None, "is new" if before is None else "is gone"))
            continue
        move = max(abs(after.low - before.low), abs(after.high - before.high))
        width = before.high - before.low
        share = move / width if width else float(move > 0)
        if share > bound:
            fact = f"moved from [{before.low:g}, {before.high:g}] to [{after.low:g}, {after.high:g}], {share:.1%}"
            found.append(Drift(name, share, fact))
    return sorted(found, key=lambda d: -(d.share if d.share is not None else float("inf")))
