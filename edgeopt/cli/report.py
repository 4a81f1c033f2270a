"""``edgeopt report``."""

from __future__ import annotations

from pathlib import Path

import click

from edgeopt.cli.command import Command
from edgeopt.cli.show import json_option, print_sections


@click.command("report", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--import",
    "measured",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Read what the device's tools measured there into the report; repeatable, more files may follow.",
)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the HTML report to FILE.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@json_option
def command(
    folder: Path, measured: tuple[Path, ...], more: tuple[Path, ...], html: Path | None, markdown: bool, as_json: bool
) -> int:
    """Print the report of the bundle in FOLDER."""
    from edgeopt.deploy.bundle import read_report, write_report
    from edgeopt.errors import UserError
    from edgeopt.files import check_writable, write_whole
    from edgeopt.plugins.registry import target_class
    from edgeopt.report import render
    from edgeopt.report.sections import sections

    check_writable(html, render.OWN_HTML)
    run = read_report(folder)
    if more and not measured:
        raise UserError(f"'{more[0]}' is one argument too many", "to read measurements in, write --import before them")
    if measured:
        run = target_class(run.target.name).measured_elsewhere(run, [*measured, *more])
        write_report(folder, run)
        click.echo(f"read {len(measured) + len(more)} files into {folder}", err=True)
    if html is not None:
        write_whole(html, render.html(sections(run)))
        click.echo(f"wrote {html}", err=True)
    elif as_json:
        click.echo(run.to_json(), nl=False)
    elif markdown:
        click.echo(render.markdown(sections(run)))
    else:
        print_sections(sections(run))
    return run.exit_code
