"""What a report is made of. Texts are ready to read; plots are data, drawn by whoever shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "good", "bad"]


@dataclass(frozen=True)
class Fact:
    """A figure that is read at a glance."""

    label: str
    value: str
    detail: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Column:
    """A table's column: figures align right, code has a fixed-width face, prose gets room."""

    title: str
    kind: Literal["text", "figure", "code", "prose"] = "text"


@dataclass(frozen=True)
class Table:
    """Rows of ready texts.

    ``detail``: for those who look closer; left out of the terminal, folded away elsewhere where long.
    ``plotted``: a plot of the section shows the same; left out where plots are drawn.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    detail: bool = False
    plotted: bool = False


@dataclass(frozen=True)
class ErrorSteps:
    """Relative error after each step, on a logarithmic axis, with the bound that exact steps keep."""

    title: str
    alt: str
    steps: tuple[str, ...]
    values: tuple[float, ...]
    bound: float


@dataclass(frozen=True)
class Distribution:
    """Histograms over one axis of at most two series of single costs: name, median, which is marked, and costs."""

    title: str
    alt: str
    unit: str
    series: tuple[tuple[str, float, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Bars:
    """Horizontal bars: label, length and the text that gives the length."""

    title: str
    alt: str
    bars: tuple[tuple[str, float, str], ...]


@dataclass(frozen=True)
class Front:
    """Points of speed-up and relative error (logarithmic); a line joins those that none beats in both.

    ``points``: speed-up, error, name, whether it was chosen, and whether it holds all limits.
    """

    title: str
    alt: str
    points: tuple[tuple[float, float, str, bool, bool], ...]


Plot = ErrorSteps | Distribution | Bars | Front


@dataclass(frozen=True)
class Section:
    """A titled part of a report: a leading sentence, then what backs it.

    ``detail``: for those who look closer; left out of the terminal. ``alarm``: stands before all else, in red.
    """

    id: str
    title: str
    lead: str
    facts: tuple[Fact, ...] = ()
    items: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    detail: bool = False
    alarm: str = ""


def printable(text: str) -> str:
    """Return ``text`` without control characters: names come from models and must not steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
