"""``edgeopt report``."""

from __future__ import annotations

from pathlib import Path

import click

from edgeopt.cli.show import json_option, print_sections


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the HTML report to FILE.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@json_option
def command(folder: Path, html: Path | None, markdown: bool, as_json: bool) -> int:
    """Print the report of the bundle in FOLDER."""
    from edgeopt.bundle import read_report
    from edgeopt.report import render
    from edgeopt.report.sections import sections

    run = read_report(folder)
    if html is not None:
        html.write_text(render.html(sections(run)), "utf-8")
        click.echo(f"wrote {html}", err=True)
    elif as_json:
        click.echo(run.to_json(), nl=False)
    elif markdown:
        click.echo(render.markdown(sections(run)))
    else:
        print_sections(sections(run))
    return run.exit_code
