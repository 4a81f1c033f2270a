"""``edgeopt targets``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from edgeopt.cli.command import Command
from edgeopt.cli.show import json_option, print_json, print_rows


@click.command("targets", cls=Command)
@json_option
def command(as_json: bool) -> int:
    """List targets and their devices, and the line that installs what is missing."""
    rows = list(_rows())
    if as_json:
        print_json(rows)
        return 0
    print_rows(("target", "device", "precisions", "toolchain", "what it is"), map(_cells, rows))
    return 0


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    toolchain = versions if row["found"] else f"missing: {row['install']}"
    names = ", ".join([row["device"], *row["aliases"]])
    return row["target"], names, " ".join(row["precisions"]), toolchain, row["description"]


def _rows() -> Iterator[dict[str, Any]]:
    from edgeopt.plugins.registry import target_classes

    for name, cls in target_classes().items():
        probe = cls.probe()
        for device in cls.devices():
            yield {
                "target": name,
                "device": device.name,
                "aliases": list(device.aliases),
                "description": device.description,
                "precisions": list(cls.precisions),
                "found": probe.found,
                "versions": dict(probe.versions),
                "install": probe.install,
            }
