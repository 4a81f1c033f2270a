"""``edgeopt export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeopt.cli.loading import load_options, loading
from edgeopt.cli.show import json_option, print_sections, progress


@click.command("export", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("model", type=click.Path())
@click.option("--target", help="Target, device, or target:device (default: cpu).")
@click.option("-o", "--output", type=click.Path(), help="Folder of the bundle (default: build).")
@click.option("--precision", help="Arithmetic asked for, and run (see edgeopt explain TARGET).")
@click.option("--threads", type=int, help="Threads of one inference.")
@loading
@click.option("--data", metavar="PATH", help="Labeled samples (.npz with 'labels') to state the accuracy on.")
@click.option("--calib", metavar="DATA", help="Calibration data for int8: .npz, folder, or module:function.")
@click.option("--calib-method", metavar="NAME", help="minmax, moving-average, percentile, entropy, mse (default).")
@click.option("--ranges", metavar="JSON", help="Calibrated ranges from edgeopt calibrate.")
@click.option("--recover", multiple=True, metavar="NAME", help="Recover int8 accuracy by this pass alone; repeatable.")
@click.option("--keep-float", multiple=True, metavar="LAYER", help="Layer or module that stays in float; repeatable.")
@click.option("--format", multiple=True, metavar="NAME", help="Format that --precision auto may choose; repeatable.")
@click.option("--recipe", metavar="NAME|TOML", help="Swap layers by a recipe: exact, slab, linear, binary, or a file.")
@click.option("--tune", metavar="5min|STEPS", help="Budget of tuning what a recipe swaps (default: the recipe's).")
@click.option("--tune-data", metavar="DATA", help="Unlabeled samples to tune on (default: those of --calib).")
@click.option("--checkpoint", metavar="PATH", help="Keep tuning's state here, and continue from it.")
@click.option("--force", is_flag=True, default=None, help="Swap also where it does not pay.")
@click.option("--baseline/--no-baseline", default=None, help="Also measure the plain export (default: on).")
@click.option("--strict", is_flag=True, default=None, help="Make any fallback an error.")
@click.option("--max-latency", type=float, metavar="N", help="Limit of the median, in ms or instructions.")
@click.option("--max-size", type=int, metavar="BYTES", help="Limit of the artifact's files, or of its flash.")
@click.option("--min-accuracy", type=float, metavar="0..1", help="Limit of the accuracy on --data.")
@click.option("--max-drop", type=float, metavar="0..1", help="Limit of the loss of accuracy on --data.")
@click.option("--max-error", type=float, metavar="X", help="Limit of the relative error against the original.")
@click.option("--min-cosine", type=float, metavar="0..1", help="Limit of the outputs' cosine with the original's.")
@click.option("--accept-difference", metavar="REASON", help="Take what misses the default limits; say why.")
@click.option("--samples", type=int, help="Verification inputs (default 8, of large or calibrated models 3 or more).")
@click.option("--seed", type=int, help="Seed of random verification inputs (default 0).")
@click.option("--warmup", type=int, metavar="N", help="Runs before measuring (default: detected).")
@click.option("--max-seconds", type=float, metavar="S", help="Longest time to measure (default 5).")
@click.option("--add-pass", "add_passes", multiple=True, metavar="NAME", help="Run this before any pass that rounds.")
@click.option("--skip-pass", "skip_passes", multiple=True, metavar="NAME", help="Do not run this pass.")
@click.option("--dump", metavar="DIR", help="Write the program's text after each pass.")
@click.option("--config", type=click.Path(path_type=Path), metavar="TOML", help="Options from a file; flags win.")
@click.option("-v", "--verbose", count=True, help="-v: a line a step; -vv: every rewrite and refusal.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    target: str | None,
    output: str | None,
    config: Path | None,
    verbose: int,
    as_json: bool,
    **flags: Any,
) -> int:
    """Export MODEL to a target and leave a verified, measured bundle.

    MODEL is a torch.export archive, a TorchScript archive, a state dict or safetensors file with --arch, or a
    pickled module with --trust. A target's own options are flags too: see `edgeopt explain TARGET`.
    """
    from edgeopt.cli.target_options import parse_flags, read_config, taken
    from edgeopt.deploy.bundle import refuse_within
    from edgeopt.deploy.export import export
    from edgeopt.plugins.registry import resolve
    from edgeopt.report.sections import sections
    from edgeopt.report.sections.verdict import caveats

    loading_flags = ("inputs", "sample", "dynamic", "arch", "trust", "max_archive_bytes")
    read = [file for file in (flags["sample"], config) if file is not None]
    load = load_options(**{name: flags.pop(name) for name in loading_flags})
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    stated = read_config(config, ("load", *loading_flags)) if config else {}
    target = taken(stated, "target", target, "cpu")
    output = taken(stated, "output", output, "build")
    refuse_within(Path(output), read)
    known = [flag for option in ctx.command.params for flag in option.opts if flag.startswith("--")]
    overrides = {**stated, **given, **parse_flags(resolve(target), ctx.args, known)}
    with progress(verbose) as on_progress:
        run = export(model, target, output, on_progress=on_progress, load=load, **overrides)
    if verbose > 1:
        _log_refusals(run)
    click.echo(run.to_json(), nl=False) if as_json else print_sections(sections(run))
    click.echo(f"bundle: {output}", err=True)
    for line in caveats(run):
        click.echo(line, err=True)
    return run.exit_code


def _log_refusals(run: Any) -> None:
    for entry in run.passes:
        for rule, count in entry.rules.items():
            click.echo(f"{entry.name}: {rule} applied {count} times", err=True)
        for refusal in entry.refused:
            click.echo(f"{entry.name}: {refusal.rule} refused at {refusal.node}: {refusal.reason}", err=True)
