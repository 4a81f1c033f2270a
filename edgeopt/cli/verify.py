"""``edgeopt verify``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from edgeopt.cli.command import Command
from edgeopt.cli.show import json_option, print_json

if TYPE_CHECKING:
    from edgeopt.deploy.bundle import Verification


@click.command("verify", cls=Command)
@click.argument("folder", type=click.Path())
@json_option
def command(folder: str, as_json: bool) -> int:
    """Check the bundle in FOLDER: every file's hash, then its golden outputs by running the artifact.

    Exits 1 where a file differs, the report cannot be read, an output leaves its bound, nothing could be compared, or
    the export found that the artifact differs from the original and nobody accepted it.
    """
    from edgeopt.deploy.bundle import verify

    result = verify(folder)
    if as_json:
        print_json({"ok": result.ok, **dataclasses.asdict(result)})
        return 0 if result.ok else 1
    for path in result.damaged:
        click.echo(f"differs: {path}")
    if result.report_fault is not None:
        click.echo(f"report.json: {result.report_fault}")
    click.echo(f"files: {result.files - len(result.damaged)} of {result.files} intact")
    if result.error is not None:
        click.echo(f"golden outputs: relative error {result.error.relative:.2e} (bound {result.bound:.0e})")
    else:
        click.echo(f"golden outputs: not run ({result.not_run})")
    accepted = f" (accepted: {result.accepted_difference})" if result.accepted_difference is not None else ""
    click.echo(f"against the original: {result.verdict}{accepted}")
    click.echo("ok" if result.ok else _failure(result))
    return 0 if result.ok else 1


def _failure(result: Verification) -> str:
    """Return the last line of a bundle that does not verify: nothing is claimed of one whose outputs say nothing."""
    is_damaged = bool(result.damaged) or result.report_fault is not None
    if is_damaged or not (result.not_compared or result.verdict == "not compared"):
        return "FAILED"
    reasons = "; ".join(f"output '{name}': {reason}" for name, reason in result.not_compared.items())
    if result.error is not None:
        return f"FAILED: {reasons}"
    return f"nothing could be compared: {reasons or 'no output with the original, see report.json'}"
