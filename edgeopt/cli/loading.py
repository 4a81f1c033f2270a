"""The options with which every command that reads a model reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgeopt.frontend.load import LoadOptions

_OPTIONS = (
    click.option("--input", "inputs", multiple=True, metavar="NAME:SHAPE[:DTYPE]", help="Input, as x:1x3x32x32."),
    click.option("--sample", type=click.Path(path_type=Path), metavar="NPZ", help="Sample inputs, by name."),
    click.option("--dynamic", multiple=True, metavar="NAME:AXIS=MIN..MAX", help="Dimension that may vary."),
    click.option("--arch", metavar="MODULE:FACTORY", help="What builds the module of a state dict."),
    click.option("--trust", is_flag=True, help="Allow code from pickled models and data functions to run."),
    click.option("--max-archive-bytes", type=int, metavar="N", help="Largest unpacked size of an archive."),
)


def loading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the loading options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def load_options(
    inputs: tuple[str, ...],
    sample: Path | None,
    dynamic: tuple[str, ...],
    arch: str | None,
    trust: bool,
    max_archive_bytes: int | None,
) -> LoadOptions:
    """Return the parsed loading options."""
    from edgeopt.errors import UserError
    from edgeopt.frontend.archive import DEFAULT_MAX_BYTES
    from edgeopt.frontend.inputs import DynamicSpec, InputSpec, load_sample
    from edgeopt.frontend.load import LoadOptions

    specs = tuple(map(InputSpec.parse, inputs))
    names = [spec.name for spec in specs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--input gives '{twice}' more than once", "give every input once")
    return LoadOptions(
        inputs=specs,
        sample=load_sample(sample) if sample else None,
        dynamic=tuple(map(DynamicSpec.parse, dynamic)),
        arch=arch,
        trust=trust,
        max_archive_bytes=max_archive_bytes or DEFAULT_MAX_BYTES,
    )
