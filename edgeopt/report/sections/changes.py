"""What differs between two exports."""

from __future__ import annotations

import math

from edgeopt.records.changes import Changes, FigureChange, TextChange
from edgeopt.records.limits import Limit
from edgeopt.report import figures
from edgeopt.report.blocks import Column, Section, Table
from edgeopt.report.figures import ABSENT

_TITLES = {
    "setting": "Settings and verdict",
    "option": "Options",
    "version": "Versions",
    "pass": "Passes",
    "layer": "Precision, by node",
    "fallback": "Fallbacks",
    "limit": "Limits of each export",
    "file": "Files",
}

_TIMES = 3
"""What grew by more is told as a multiple."""


def changes(found: Changes) -> Section:
    """Return the figures of both exports, what else differs, and the limits on it."""
    lead = f"From {found.before} to {found.after}: "
    lead += f"{len(found.texts)} differences besides the figures." if found.texts else "nothing differs but figures."
    columns = (Column("Figure"), *(Column(title, "figure") for title in ("Before", "After", "Change")))
    rows = tuple(_row(one, found.latency_unit) for one in found.figures)
    tables = [Table(columns, rows)]
    for kind, title in _TITLES.items():
        if named := tuple(_named(one) for one in found.texts if one.kind == kind):
            sides = Column("Before", "prose"), Column("After", "prose")
            tables.append(Table((Column("Name", "code"), *sides), named, title))
    if found.limits:
        stated = (Column("Limit", "code"), Column("Allowed", "figure"), Column("Measured", "figure"), Column("Verdict"))
        tables.append(Table(stated, tuple(map(_limit, found.limits)), "Limits on the change"))
    return Section("changes", "Changes", lead, tables=tuple(tables))


def _row(one: FigureChange, unit: str) -> tuple[str, ...]:
    sides = (ABSENT if value is None else figures.in_unit(value, one.unit, unit) for value in (one.before, one.after))
    return one.name, *sides, _change(one)


def _change(one: FigureChange) -> str:
    if one.before is None or one.after is None or one.before == one.after:
        return "" if one.before == one.after else ABSENT
    if one.unit in ("share", "dB"):
        points = one.after - one.before
        return f"{points:+.1f} dB" if one.unit == "dB" else f"{100 * points:+.1f} points"
    times = one.after / one.before if one.before else math.inf
    return ABSENT if math.isinf(times) else figures.ratio(times) if times > _TIMES else f"{100 * (times - 1):+.1f} %"


def _named(one: TextChange) -> tuple[str, str, str]:
    return one.name, one.before or ABSENT, one.after or ABSENT


def _limit(limit: Limit) -> tuple[str, ...]:
    value = "not comparable" if limit.value is None else _share(limit, limit.value)
    return limit.name, _share(limit, limit.limit), value, figures.verdict(limit.ok)


def _share(limit: Limit, value: float) -> str:
    return f"{100 * value:+.1f} %" if limit.unit == "share" else f"{value:.2f}"
