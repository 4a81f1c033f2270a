"""``edgeopt diff``."""

from __future__ import annotations

from pathlib import Path

import click

from edgeopt.cli.command import Command
from edgeopt.cli.options import share
from edgeopt.cli.show import json_option, print_json, print_sections


@click.command("diff", cls=Command)
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--max-slowdown", type=share, metavar="SHARE", help="Most by which latency may grow: 0.05 is 5 %.")
@click.option("--max-growth", type=share, metavar="SHARE", help="Most by which the artifact's size may grow.")
@click.option("--max-drop", type=share, metavar="SHARE", help="Most that accuracy may lose: 0.01 is one point.")
@click.option("--max-error-ratio", type=float, metavar="RATIO", help="Most that the relative error may become times.")
@json_option
def command(
    before: Path,
    after: Path,
    max_slowdown: float | None,
    max_growth: float | None,
    max_drop: float | None,
    max_error_ratio: float | None,
    as_json: bool,
) -> int:
    """Tell what changed from the bundle in BEFORE to that in AFTER, as their reports have it.

    Exits 1 where a limit is missed, or cannot be judged: latencies of another unit or processor are not comparable.
    `edgeopt bench BEFORE AFTER` measures both alternately in one run.
    """
    from edgeopt.deploy.diff import ChangeLimits, diff
    from edgeopt.report.sections import changes

    found = diff(before, after, ChangeLimits(max_slowdown, max_growth, max_drop, max_error_ratio))
    if as_json:
        print_json(found.to_dict())
    else:
        print_sections([changes(found)])
    return 0 if found.ok else 1
