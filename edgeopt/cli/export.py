"""``edgeopt export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeopt.cli.command import Command
from edgeopt.cli.loading import NAMES, load_options
from edgeopt.cli.options import flags, given, parse_flags, read_config, taken
from edgeopt.cli.show import json_option, print_sections, progress


@click.command("export", cls=Command, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("model", type=click.Path())
@click.option("--target", help="Target, device, or target:device (default: cpu).")
@click.option("-o", "--output", type=click.Path(), help="Folder of the bundle (default: build).")
@flags("export")
@click.option("--config", type=click.Path(path_type=Path), metavar="TOML", help="Options from a file; flags win.")
@click.option("-v", "--verbose", count=True, help="-v: a line a step; -vv: every rewrite and refusal.")
@json_option
def command(
    model: str,
    target: str | None,
    output: str | None,
    config: Path | None,
    verbose: int,
    as_json: bool,
    **values: Any,
) -> int:
    """Export MODEL to a target and leave a verified, measured bundle.

    MODEL is a torch.export archive, a Hugging Face folder, an ONNX file, a TorchScript archive, a state dict or
    safetensors file with --arch, or a pickled module with --trust. A target's own options are flags too: see
    `edgeopt explain TARGET`.
    """
    from edgeopt.deploy.bundle import refuse_within
    from edgeopt.deploy.export import export
    from edgeopt.plugins.registry import resolve
    from edgeopt.report.sections import sections

    read = [file for file in (values["sample"], config) if file is not None]
    load = load_options(**{name: values.pop(name) for name in NAMES})
    stated = read_config(config, ("load", *NAMES)) if config else {}
    target = taken(stated, "target", target, "cpu")
    output = taken(stated, "output", output, "build")
    refuse_within(Path(output), read)
    ctx = click.get_current_context()
    known = [flag for option in ctx.command.params for flag in option.opts if flag.startswith("--")]
    overrides = {**stated, **given(values), **parse_flags(resolve(target), ctx.args, known)}
    with progress(verbose) as on_progress:
        run = export(model, target, output, on_progress=on_progress, load=load, **overrides)
    if verbose > 1:
        _log_refusals(run)
    click.echo(run.to_json(), nl=False) if as_json else print_sections(sections(run))
    _log_outcome(run, output)
    return run.exit_code


def _log_refusals(run: Any) -> None:
    for entry in run.passes:
        for rule, count in entry.rules.items():
            click.echo(f"{entry.name}: {rule} applied {count} times", err=True)
        for refusal in entry.refused:
            click.echo(f"{entry.name}: {refusal.rule} refused at {refusal.node}: {refusal.reason}", err=True)


def _log_outcome(run: Any, output: str) -> None:
    from edgeopt.report.sections.verdict import caveats

    click.echo(f"bundle: {output}", err=True)
    for line in run.warnings:
        click.echo(f"warning: {line}", err=True)
    for line in caveats(run):
        click.echo(line, err=True)
