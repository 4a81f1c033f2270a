"""Sections as a terminal's tables, as Markdown, and as one HTML file that opens offline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from edgeopt.report.blocks import Fact, Section, Table, printable
from edgeopt.report.plots import svg

ROWS = 12
"""Most rows of a table in the terminal."""
OWN_HTML = "edgeopt</title>"
"""Expression found in the beginning of every HTML report."""
TONES = {"plain": "", "good": "green", "bad": "bold red"}


def terminal(parts: Iterable[Section], console: Console) -> None:
    """Print the sections in brief: no details, no plots, the first rows of each table."""
    for part in parts:
        if part.detail:
            continue
        if part.alarm:
            console.print(Text(printable(part.alarm), TONES["bad"]))
        console.print(Text(printable(part.title), "bold"), Text(printable(part.lead), "dim"), sep="  ")
        if part.facts:
            console.print(_indented(_facts(part.facts)))
        for item in part.items:
            console.print(_indented(Text(f"! {printable(item)}", "yellow")))
        for table in part.tables:
            if not table.detail:
                _print_table(table, console)
        console.print()


def _facts(facts: Sequence[Fact]) -> Grid:
    grid = Grid.grid(padding=(0, 2))
    for fact in facts:
        value = Text(printable(fact.value), TONES[fact.tone] or "bold")
        grid.add_row(Text(fact.label), value, Text(printable(fact.detail), "dim"))
    return grid


def _print_table(table: Table, console: Console) -> None:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in table.columns:
        side: Literal["right", "left"] = "right" if column.kind == "figure" else "left"
        grid.add_column(column.title, justify=side, overflow="fold", min_width=len(column.title))
    for row in table.rows[:ROWS]:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    if table.title:
        console.print(Text(f"  {table.title}", "bold"))
    console.print(_indented(grid))
    if len(table.rows) > ROWS:
        console.print(Text(f"  and {len(table.rows) - ROWS} more", "dim"))


def _indented(content: RenderableType) -> Padding:
    return Padding(content, (0, 0, 0, 2), expand=False)


def markdown(parts: Iterable[Section]) -> str:
    """Return the sections as Markdown with tables and without plots."""
    lines: list[str] = []
    for level, part in enumerate(parts):
        if part.alarm:
            lines += [f"**{_escaped(part.alarm)}**", ""]
        lines += [f"{'##' if level else '#'} {_escaped(part.title)}", ""]
        if part.lead:
            lines += [_escaped(part.lead), ""]
        if part.facts:
            lines += _pipe_table(("", "", ""), ((fact.label, fact.value, fact.detail) for fact in part.facts), "lll")
        if part.items:
            lines += [*(f"- {_escaped(item)}" for item in part.items), ""]
        for table in part.tables:
            if table.title:
                lines += [f"**{_escaped(table.title)}**", ""]
            alignment = "".join("r" if column.kind == "figure" else "l" for column in table.columns)
            lines += _pipe_table([column.title for column in table.columns], table.rows, alignment)
    return "\n".join(lines)


def _pipe_table(titles: Sequence[str], rows: Iterable[Sequence[str]], alignment: str) -> list[str]:
    rule = ["---:" if side == "r" else "---" for side in alignment]
    body = [[_escaped(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in ([*titles], rule, *body)] + [""]


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", printable(text))


def html(parts: Iterable[Section]) -> str:
    """Return the sections as one HTML document: style and plots inside, no script, nothing fetched."""
    environment = Environment(
        loader=PackageLoader("edgeopt.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda plot: Markup(svg(plot))
    style = resources.files("edgeopt.report").joinpath("report.css").read_text("utf-8")
    first, *rest = parts
    return environment.get_template("report.html.j2").render(first=first, rest=rest, style=Markup(style))
