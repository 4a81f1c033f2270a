"""Figures as text: three significant digits and a unit that keeps them short."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeopt.records.outputs import Error

if TYPE_CHECKING:
    from edgeopt.records.limits import Limit, Unit

_ZEROS = 1e-15
"""A number below this, or above its inverse, is written with an exponent."""
ABSENT = "-"
"""Stands where there is no figure."""


def significant(value: float) -> str:
    """Return ``value`` with three significant digits: 1234.5 is ``1230``, 0.01234 ``0.0123``; with an exponent where
    that would take many zeros."""
    if value == 0 or not math.isfinite(value):
        return _extended(value)
    rounded = _rounded(value)
    if not _ZEROS <= abs(rounded) <= 1 / _ZEROS:
        return f"{rounded:.2e}"
    places = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(places, 0)}f}"


def cost(value: float | None, unit: str) -> str:
    """Return a latency (``value`` in ms) as µs, ms or s, or a count of instructions."""
    if value is None:
        return ABSENT
    if unit != "ms":
        return f"{magnitude(value)} {unit}"
    if _rounded(value) < 1:
        return f"{significant(value * 1e3)} µs"
    return f"{significant(value)} ms" if _rounded(value) < 1e3 else f"{significant(value / 1e3)} s"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def magnitude(value: float) -> str:
    """Return a count as ``78,666``, ``12.5 M``, ``1.30 G``."""
    if value < 1e6:
        return f"{value:,.0f}"
    return f"{significant(value / 1e6)} M" if value < 1e9 else f"{significant(value / 1e9)} G"


def size(count: int) -> str:
    """Return bytes as ``312 B``, ``41.2 KiB``, ``1.50 MiB``."""
    for scale, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= scale:
            return f"{significant(count / scale)} {unit}"
    return f"{count} B"


def percent(share: float | None) -> str:
    """Return a share from 0 to 1 as percent with one decimal."""
    return ABSENT if share is None else f"{100 * share:.1f} %"


def ratio(value: float) -> str:
    """Return a speed-up as ``1.31x``."""
    return f"{value:.2f}x" if value < 10 else f"{significant(value)}x"


def relative(error: Error | None) -> str:
    """Return the relative error, or the word for an exact match; ``-`` where it was not measured."""
    if error is None:
        return ABSENT
    return "equal" if error.max_abs == 0 else scientific(error.relative)


def sqnr(error: Error | None) -> str:
    """Return the signal to quantization-noise ratio in dB."""
    if error is None:
        return ABSENT
    return f"{error.sqnr_db:.1f} dB" if math.isfinite(error.sqnr_db) else f"{_extended(error.sqnr_db)} dB"


def limit(one: Limit, value: float | None, latency_unit: str = "ms") -> str:
    """Return a limit, or what was measured of it, in the limit's unit."""
    if value is None:
        return "equal" if one.ok else "not finite" if one.is_default else "not measured"
    return in_unit(value, one.unit, latency_unit)


def in_unit(value: float, unit: Unit, latency_unit: str = "ms") -> str:
    """Return a figure in the unit of a limit."""
    kinds: dict[str, Callable[[float], str]] = {
        "latency": lambda v: cost(v, latency_unit),
        "bytes": lambda v: size(round(v)),
        "share": percent,
        "ratio": scientific,
        "cosine": significant,
        "dB": lambda v: f"{v:.1f} dB",
        "elements": lambda v: f"{v:,.0f}",
        "number": magnitude,
    }
    return kinds[unit](value)


def verdict(ok: bool) -> str:
    """Return whether a limit holds."""
    return "✓ holds" if ok else "✗ missed"


def scientific(value: float) -> str:
    """Return a small figure as ``3.1e-07``."""
    return f"{value:.1e}" if math.isfinite(value) and value else _extended(value)


def _extended(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "0" if value == 0 else "∞" if value > 0 else "-∞"
