"""Limits: those that are stated, those that hold by default, and the one place where both are evaluated.

A stated limit is a field of ``Limits`` and a row of ``STATED``. The default ones hold for every export and are judged
output by output; their figures belong to the coarsest number format of the artifact (docs/limits.md derives them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from edgeopt.errors import UserError
from edgeopt.ir.metrics import Comparison
from edgeopt.options import option, share
from edgeopt.quant.blockwise import FORMATS
from edgeopt.records.limits import Direction, Limit, Unit
from edgeopt.records.outputs import Error, Form, OutputComparison
from edgeopt.records.run import Verdict

LARGEST_DROP = 0.05
"""Most accuracy that an export may lose on labeled data by default."""
TIMES_NOISE = 10.0
"""The default limits are never tighter than this many times the model's own noise."""


@dataclass(frozen=True)
class Limits:
    """Stated limits: latency in the target's unit (median), bytes of the artifact (of flash where the target counts
    it), accuracy and its loss against the original (0 to 1), relative error, cosine of the angle between the outputs
    and the original's.
    """

    max_latency: float | None = option(None, "Limit of the median, in ms or instructions.", metavar="N")
    max_size: int | None = option(None, "Limit of the artifact's files, or of its flash.", metavar="BYTES")
    min_accuracy: float | None = option(None, "Limit of the accuracy on --data.", metavar="SHARE", parse=share)
    max_drop: float | None = option(
        None, "Limit of the loss of accuracy on --data: 0.01 or 1%.", metavar="SHARE", parse=share
    )
    max_error: float | None = option(None, "Limit of the relative error against the original.", metavar="X")
    min_cosine: float | None = option(None, "Limit of the outputs' cosine with the original's.", metavar="0..1")

    def __post_init__(self) -> None:
        """Raise UserError where a limit is not a number, or none that anything can be held against."""
        for kind in STATED:
            if (limit := self.of(kind)) is not None:
                kind.refuse_illegal(limit)

    @property
    def on_answers(self) -> bool:
        """Whether a limit is on what the model answers, which layers can be given back for."""
        return any(kind.on_answers and self.of(kind) is not None for kind in STATED)

    @property
    def stated(self) -> bool:
        """Whether there is any limit."""
        return any(self.of(kind) is not None for kind in STATED)

    def of(self, kind: LimitKind) -> float | None:
        """Return the limit of one kind; None where it is not stated."""
        limit: float | None = getattr(self, kind.name.replace("-", "_"))
        return limit


@dataclass(frozen=True)
class Measured:
    """What a candidate showed, of which limits are stated; None where it was not measured.

    ``error``: that of the worst output. ``drop``: the original's accuracy less the candidate's.
    """

    error: Error | None = None
    accuracy: float | None = None
    drop: float | None = None
    latency: float | None = None
    bytes: int | None = None


_RANGES: Mapping[Unit, tuple[float, float]] = {"share": (0.0, 1.0), "cosine": (-1.0, 1.0)}
"""What a limit may be by its unit; of all others 0 and above."""


@dataclass(frozen=True)
class LimitKind:
    """A kind of limit: its option, whether it is the most or the least, its unit, and what it is held against.

    ``on_answers``: whether it is on what the model answers rather than on what that costs.
    """

    name: str
    direction: Direction
    unit: Unit
    read: Callable[[Measured], float | None]
    on_answers: bool

    def refuse_illegal(self, limit: float) -> None:
        """Raise UserError for a limit that is not a number, or lies outside what is measured."""
        least, most = _RANGES.get(self.unit, (0.0, math.inf))
        if not isinstance(limit, int | float) or not least <= limit <= most or math.isinf(limit):
            span = f"from {least:g} to {most:g}" if math.isfinite(most) else f"from {least:g} up"
            raise UserError(f"limit {self.name} is {limit!r}", f"give a finite number {span}")

    def check(self, limit: float, measured: Measured) -> Limit:
        """Hold what was measured against a limit of this kind."""
        return Limit(self.name, self.direction, self.unit, limit).judged(self.read(measured))


STATED = (
    LimitKind("max-latency", "most", "latency", lambda m: m.latency, on_answers=False),
    LimitKind("max-size", "most", "bytes", lambda m: m.bytes, on_answers=False),
    LimitKind("min-accuracy", "least", "share", lambda m: m.accuracy, on_answers=True),
    LimitKind("max-drop", "most", "share", lambda m: m.drop, on_answers=True),
    LimitKind("min-cosine", "least", "cosine", lambda m: m.error.cosine if m.error else None, on_answers=True),
    LimitKind("max-error", "most", "ratio", lambda m: m.error.relative if m.error else None, on_answers=True),
)


def check(limits: Limits, measured: Measured, kinds: Iterable[LimitKind] = STATED) -> tuple[Limit, ...]:
    """Hold what was measured against the limits that are stated."""
    return tuple(kind.check(limit, measured) for kind in kinds if (limit := limits.of(kind)) is not None)


def answers_hold(limits: Limits, measured: Measured) -> bool:
    """Whether the limits on what the model answers hold."""
    return all(one.ok for one in check(limits, measured, (kind for kind in STATED if kind.on_answers)))


def costs_hold(limits: Limits, measured: Measured) -> bool:
    """Whether the limits on latency and size hold."""
    return all(one.ok for one in check(limits, measured, (kind for kind in STATED if not kind.on_answers)))


# -- by default ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floor:
    """The least that an output of some number format must keep: a largest relative error, and a least SQNR in dB.

    ``differing``: the largest share, 0 to 1, of integers and booleans decided by floats that may differ. ``bits``: of
    a significand or an integer, without its sign. ``slice_db``: the SQNR of a channel alone.
    """

    relative: float
    sqnr_db: float
    differing: float
    bits: int
    slice_db: float

    @classmethod
    def rounding(cls, sqnr_db: float, bits: int, differing: float | None = None) -> Floor:
        """Return that of a floating-point format, whose largest error is about the noise that its SQNR states."""
        turned = _turned(sqnr_db) if differing is None else differing
        return cls(10 ** (-sqnr_db / 20), sqnr_db, turned, bits, sqnr_db)

    @classmethod
    def quantized(cls, sqnr_db: float, bits: int) -> Floor:
        """Return that of a coarse format: single values may be off by the largest value, the noise is what counts."""
        return cls(1.0, sqnr_db, _turned(sqnr_db), bits, 0.0)

    @property
    def is_rounding(self) -> bool:
        """Whether the format is of floating-point numbers, which are rounded by their own size."""
        return self.slice_db > 0

    def above(self, noise: float) -> Floor:
        """Return this floor, or a lower one where the model's own noise (relative) leaves no digits to ask for."""
        most = TIMES_NOISE * noise
        if most <= self.relative:
            return self
        sqnr_db, differing = min(self.sqnr_db, -20 * math.log10(most)), max(self.differing, min(most, 1.0))
        return replace(self, relative=most, sqnr_db=sqnr_db, differing=differing)


def _turned(sqnr_db: float) -> float:
    """Return the share of normally distributed values whose sign turns under noise of this SQNR."""
    return math.atan(10 ** (-sqnr_db / 20)) / math.pi


FLOORS: Mapping[str, Floor] = {
    "fp32": Floor.rounding(60.0, bits=24, differing=0.0),
    "fp16": Floor.rounding(40.0, bits=11),
    "bf16": Floor.rounding(22.0, bits=8),
    "int8": Floor.quantized(10.0, bits=7),
    "fp8": Floor.quantized(10.0, bits=4),
    **dict.fromkeys(FORMATS, Floor.quantized(3.0, bits=3)),
    **dict.fromkeys(("binary", "trained"), Floor.quantized(0.0, bits=0)),
}
"""By number format; another name is held to that of fp32."""


def floor_of(formats: Iterable[str]) -> Floor:
    """Return the floor of an artifact whose layers are in these formats: that of the coarsest."""
    floors = [FLOORS.get(name, FLOORS["fp32"]) for name in formats]
    return min(floors, key=lambda floor: floor.sqnr_db, default=FLOORS["fp32"])


@dataclass(frozen=True)
class OutputLimit:
    """A kind of default limit: for which outputs it is, the limit that a floor sets, and what is held against it."""

    name: str
    direction: Direction
    unit: Unit
    forms: tuple[Form, ...]
    limit: Callable[[Floor], float]
    read: Callable[[OutputComparison], float]

    def worst(self, outputs: Iterable[OutputComparison], floors: Mapping[str, Floor]) -> Limit | None:
        """Hold outputs against the limit that the floor of each sets; return that of the output that is furthest from
        holding it, None where there is no output of these forms."""
        sign = 1.0 if self.direction == "least" else -1.0
        judged = []
        for output in outputs:
            if output.form in self.forms:
                limit = Limit(self.name, self.direction, self.unit, self.limit(floors[output.name]), is_default=True)
                value = self.read(output)
                judged.append(((limit.holds(value), sign * value), replace(limit, output=output.name).judged(value)))
        return min(judged, key=lambda one: one[0])[1] if judged else None


_NUMBERS: tuple[Form, ...] = ("number", "index")
DEFAULT = (
    OutputLimit("default-error", "most", "ratio", _NUMBERS, lambda f: f.relative, lambda o: _error(o).relative),
    OutputLimit("default-sqnr", "least", "dB", _NUMBERS, lambda f: f.sqnr_db, lambda o: _error(o).sqnr_db),
    OutputLimit("no-new-nan", "most", "elements", _NUMBERS, lambda f: 0.0, lambda o: float(o.not_finite)),
    OutputLimit("default-decisions", "most", "share", ("decision",), lambda f: f.differing, lambda o: _differing(o)),
    OutputLimit("default-integers", "most", "share", ("exact",), lambda f: 0.0, lambda o: _differing(o)),
)
"""What is asked of each output by default. Integers that no float took part in have one right value."""


def check_outputs(comparison: Comparison, floor: Floor, noise: Mapping[str, float]) -> tuple[Limit, ...]:
    """Hold each output against the floor; return of each default limit the output that is worst.

    ``noise``: the model's own, relative, by output (see edgeopt.analysis.noise).
    """
    floors = {one.name: floor.above(noise.get(one.name, 0.0)) for one in comparison.compared}
    judged = (kind.worst(comparison.compared, floors) for kind in DEFAULT)
    return tuple(one for one in judged if one is not None)


def check_drop(drop: float | None, limits: Limits) -> tuple[Limit, ...]:
    """Hold the loss of accuracy against the default; nothing without labeled data, or where another is stated."""
    if drop is None or limits.max_drop is not None:
        return ()
    return (Limit("default-drop", "most", "share", LARGEST_DROP, is_default=True).judged(drop),)


def check_capacity(name: str, most: int, used: int) -> Limit:
    """Hold the bytes that an artifact takes against those that its device has."""
    return Limit(name, "most", "bytes", most).judged(used)


def check_reach(label: str, most: int, found: float) -> Limit:
    """Hold the largest number that a value of the program has against what the runtime holds."""
    return Limit("reach", "most", "number", most, is_default=True, output=label).judged(found)


def verdict(comparison: Comparison | None, checked: Iterable[Limit]) -> Verdict:
    """Return in one word what the comparison with the original says under the default limits."""
    if comparison is None:
        return "not run"
    if not all(one.ok for one in checked if one.is_default):
        return "differs"
    if not comparison.compared:
        return "not compared"
    return "equal" if comparison.is_equal else "close"


def _error(output: OutputComparison) -> Error:
    assert output.error is not None, "only outputs that could be compared are held against limits"
    return output.error


def _differing(output: OutputComparison) -> float:
    return output.differing / output.elements
