"""``edgeopt targets``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table

from edgeopt.cli.show import json_option, print_json, stdout


@click.command("targets")
@json_option
def command(as_json: bool) -> int:
    """List targets and their devices, and the line that installs what is missing."""
    rows = list(_rows())
    if as_json:
        print_json(rows)
        return 0
    table = Table("target", "device", "precisions", "toolchain", "what it is", box=None, pad_edge=False)
    for row in rows:
        state = (
            ", ".join(f"{k} {v}" for k, v in row["versions"].items()) if row["found"] else f"missing: {row['install']}"
        )
        names = ", ".join([row["device"], *row["aliases"]])
        table.add_row(row["target"], names, " ".join(row["precisions"]), state, row["description"])
    stdout().print(table)
    return 0


def _rows() -> Iterator[dict[str, Any]]:
    from edgeopt.registry import target_classes

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
