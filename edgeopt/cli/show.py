"""How results reach stdout, and progress stderr."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from edgeopt.report.blocks import Section

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def print_json(value: Any) -> None:
    """Print a value as JSON: dataclasses as objects, numbers that are not finite as null, for JSON has none."""
    plain = json.loads(json.dumps(value, default=_plain), parse_constant=lambda name: None)
    click.echo(json.dumps(plain, indent=2))


def print_sections(sections: Iterable[Section]) -> None:
    """Print sections as compact tables, as wide as the terminal; plain text when piped."""
    from edgeopt.report.render import terminal

    terminal(sections, stdout())


def print_rows(names: Sequence[str], rows: Iterable[Sequence[str]], marked: Collection[int] = ()) -> None:
    """Print a table of plain texts under its columns' names; the rows with the numbers ``marked`` in yellow."""
    table = Table(*names, box=None, pad_edge=False)
    for number, row in enumerate(rows):
        table.add_row(*map(Text, row), style="yellow" if number in marked else None)
    stdout().print(table)


def stdout() -> Console:
    """Return the console of results; 100 columns wide when it is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)


@contextmanager
def progress(verbose: int) -> Iterator[Callable[[str], None]]:
    """Yield what is told each step: a spinner on a terminal, a line a step with ``-v`` or when piped."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal and not verbose:
        with console.status("starting") as status:
            yield lambda step: status.update(escape(step))
        return
    start = time.perf_counter()
    yield lambda step: click.echo(f"[{time.perf_counter() - start:6.1f} s] {step}", err=True)


def _plain(value: Any) -> Any:
    from edgeopt.records.form import Record

    if isinstance(value, Record):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)
