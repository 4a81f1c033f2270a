"""``edgeopt inspect``."""

from __future__ import annotations

from typing import Any

import click

from edgeopt.cli.command import Command
from edgeopt.cli.loading import load_options, loading
from edgeopt.cli.show import json_option, print_json, print_sections, progress


@click.command("inspect", cls=Command)
@click.argument("model", type=click.Path())
@loading
@click.option("--target", default="reference", show_default=True, help="Whose passes to try.")
@click.option("-v", "--verbose", count=True, help="A line a step.")
@json_option
def command(model: str, target: str, verbose: int, as_json: bool, **flags: Any) -> int:
    """Show what is in MODEL: layers, parameters, MACs, operators; which passes would apply, and why not."""
    from edgeopt.deploy.inspection import inspect_model, inspection_sections

    with progress(verbose) as on_progress:
        found = inspect_model(model, load_options(**flags), target, on_progress)
    if as_json:
        print_json(found)
    else:
        print_sections(inspection_sections(found))
    return 0
