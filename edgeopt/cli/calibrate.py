"""``edgeopt calibrate``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from edgeopt.cli.command import Command
from edgeopt.cli.loading import load_options, loading
from edgeopt.cli.options import share
from edgeopt.cli.show import json_option, print_json
from edgeopt.errors import UserError

if TYPE_CHECKING:
    from edgeopt.calib.calibrate import Progress
    from edgeopt.calib.ranges import Drift, Ranges

_REPORT_EVERY = 50
_SUITE = "edgeopt calibrate"
_DRIFT = 0.05


@click.command("calibrate", cls=Command)
@click.argument("model", type=click.Path())
@click.option("--data", required=True, metavar="DATA", help="Samples: .npz, folder, or module:function.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="JSON", help="Where to write the ranges.")
@click.option("--target", default="cpu", show_default=True, help="Target whose program is calibrated.")
@click.option("--method", default="mse", show_default=True, help="minmax, moving-average, percentile, entropy, mse.")
@click.option("--check", type=click.Path(path_type=Path), metavar="JSON", help="Compare with these ranges.")
@click.option("--drift", type=share, metavar="SHARE", help="Largest move of a range's end under --check (default: 5%).")
@click.option("--junit", type=click.Path(path_type=Path), metavar="XML", help="Write the comparison for CI systems.")
@click.option("--cache/--no-cache", default=True, show_default=True, help="Reuse and keep results by content.")
@loading
@json_option
def command(
    output: Path | None, check: Path | None, drift: float | None, junit: Path | None, as_json: bool, **request: Any
) -> int:
    """Find the ranges of MODEL's activations over DATA.

    With --check, exits 1 where a range moved by more than --drift of its width, and names the tensors. A killed run
    goes on where it was when called again.
    """
    from edgeopt.calib.ranges import OWN_RANGES, drifts, read_ranges
    from edgeopt.files import check_writable, write_whole

    for flag, value in (("--drift", drift), ("--junit", junit)):
        if check is None and value is not None:
            raise UserError(f"{flag} is given without ranges to compare with", "name them with --check")
    check_writable(output, OWN_RANGES)
    check_writable(junit, _SUITE)
    earlier = read_ranges(check) if check else None
    found = _ranges(**request)
    if output:
        write_whole(output, found.to_json())
    moved = drifts(earlier, found, _DRIFT if drift is None else drift) if earlier else []
    if junit:
        write_whole(junit, _junit(found, moved))
    _print(found, moved, earlier is not None, as_json)
    return 1 if moved else 0


def _ranges(model: str, data: str, target: str, method: str, cache: bool, **loading_flags: Any) -> Ranges:
    """Load a model and calibrate the program that a target quantizes."""
    from edgeopt.calib.cache import cache_folder
    from edgeopt.calib.calibrate import calibrate
    from edgeopt.calib.data import open_data
    from edgeopt.candidate.quantize import calibratable
    from edgeopt.frontend.static_shapes import load_for
    from edgeopt.plugins.registry import resolve

    chosen = resolve(target)
    program = calibratable(load_for(chosen, model, load_options(**loading_flags)).program, chosen)
    samples = open_data(data, program.inputs, loading_flags["trust"])
    with _progress(len(samples) if hasattr(samples, "__len__") else None) as show:
        return calibrate(program, samples, method, cache_folder() if cache else None, show)


@contextmanager
def _progress(total: int | None) -> Iterator[Progress]:
    """Yield what is told each sample: on stderr a bar for each phase, or a line now and then where it is piped."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        of = "" if total is None else f" of {total:,}"

        def tell(phase: str, done: int) -> None:
            if done % _REPORT_EVERY == 0:
                click.echo(f"{phase}: {done:,}{of} samples", err=True)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def show(phase: str, done: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done)

        yield show


def _print(found: Ranges, moved: list[Drift], checked: bool, as_json: bool) -> None:
    if as_json:
        print_json({"samples": found.samples, "method": found.method, "tensors": found.tensors, "drifted": moved})
        return
    click.echo(f"{len(found.tensors)} tensors, {found.samples:,} samples, {found.method}")
    for drift in moved:
        click.echo(f"drifted: {drift.tensor} {drift.fact}")
    if checked and not moved:
        click.echo("no tensor drifted")


def _junit(found: Ranges, moved: list[Drift]) -> str:
    """Return a JUnit report: a test case a tensor, failed where it drifted."""
    from xml.etree import ElementTree

    facts = {drift.tensor: drift.fact for drift in moved}
    names = sorted(found.tensors.keys() | facts.keys())
    suite = ElementTree.Element("testsuite", name=_SUITE, tests=str(len(names)), failures=str(len(facts)))
    for name in names:
        case = ElementTree.SubElement(suite, "testcase", classname="edgeopt.calibrate", name=name)
        if name in facts:
            ElementTree.SubElement(case, "failure", message=f"{name} {facts[name]}")
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
