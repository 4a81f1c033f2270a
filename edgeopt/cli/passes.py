"""``edgeopt passes``."""

from __future__ import annotations

import sys

import click

from edgeopt.cli.command import Command
from edgeopt.cli.show import json_option, print_json, print_rows


@click.command("passes", cls=Command)
@click.option("--target", help="Show this target's passes in order, with the reason for each place.")
@click.option("--precision", help="Precision the order is asked for.")
@json_option
def command(target: str | None, precision: str | None, as_json: bool) -> int:
    """List all passes, or a target's passes in the order in which they run."""
    rows = _ordered(target, precision) if target else _all()
    if as_json:
        print_json(rows)
        return 0
    print_rows(list(rows[0]), [list(row.values()) for row in rows])
    return 0


def _ordered(target: str, precision: str | None) -> list[dict[str, str]]:
    from edgeopt.candidate.options import ExportOptions, split_options
    from edgeopt.plugins.registry import resolve

    chosen = resolve(target)
    _, options = split_options(chosen, ExportOptions(), {"precision": precision} if precision else {})
    rows = []
    for number, step in enumerate(chosen.pipeline(options), 1):
        built = step.build()
        rows.append({"order": str(number), "pass": built.name, "kind": built.kind, "why there": step.reason})
    return rows


def _all() -> list[dict[str, str]]:
    from edgeopt.plugins.registry import pass_classes

    rows = []
    for name, cls in pass_classes().items():
        lead = (sys.modules[cls.__module__].__doc__ or "").strip().splitlines()
        rows.append({"pass": name, "kind": cls.kind, "what it does": lead[0] if lead else ""})
    return rows
