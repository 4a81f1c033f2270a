"""Rows of a benchmark as a Markdown table, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click


def show(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows of equal keys on stdout."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2))
        return
    columns = list(rows[0])
    click.echo(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        click.echo(f"| {' | '.join(_cell(value) for value in row.values())} |")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
