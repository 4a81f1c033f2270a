"""``edgeopt bench``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeopt.cli.command import Command
from edgeopt.cli.show import json_option, print_json, print_sections, progress
from edgeopt.errors import UserError

if TYPE_CHECKING:
    from edgeopt.candidate.measure import MeasurePlan
    from edgeopt.records.run import Run


@click.command("bench", cls=Command)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--warmup", type=int, metavar="N", help="Runs before measuring (default: detected).")
@click.option("--max-seconds", type=float, default=5.0, show_default=True, metavar="S", help="Longest time a bundle.")
@click.option("-v", "--verbose", count=True, help="A line a step.")
@json_option
def command(folders: Sequence[Path], warmup: int | None, max_seconds: float, verbose: int, as_json: bool) -> int:
    """Measure the bundles in FOLDERS again, alternately in one run, and show them side by side."""
    from edgeopt.candidate.measure import MeasurePlan
    from edgeopt.deploy.bundle import check_intact, read_report
    from edgeopt.report.sections import comparison

    reports = [read_report(folder) for folder in folders]
    for folder in folders:
        check_intact(folder)
    with progress(verbose) as on_progress:
        on_progress(f"measuring {len(folders)} bundle(s) alternately")
        runs = _measure(folders, reports, MeasurePlan(warmup=warmup, max_seconds=max_seconds))
    if as_json:
        print_json([run.to_dict() for run in runs])
    else:
        print_sections([comparison(runs)])
    return max(run.exit_code for run in runs)


def _measure(folders: Sequence[Path], reports: Sequence[Run], plan: MeasurePlan) -> list[Run]:
    from edgeopt.candidate.measure import measure
    from edgeopt.deploy.bundle import read_golden, read_manifest, restore

    with ExitStack() as stack:
        sessions, samples, threads = {}, {}, {}
        for folder, report in zip(folders, reports, strict=True):
            if report.not_run is not None:
                raise UserError(f"'{folder}' was not run here: {report.not_run}", "export it again once that is mended")
            target, options = restore(read_manifest(folder))
            sessions[str(folder)] = target.open(folder, options)
            stack.callback(sessions[str(folder)].close)
            samples[str(folder)] = read_golden(folder)[0]
            threads[str(folder)] = options.threads
        timings = measure(sessions, samples, plan)
    return [
        replace(report, latency=timings[str(folder)].latency(threads[str(folder)]))
        for folder, report in zip(folders, reports, strict=True)
    ]
