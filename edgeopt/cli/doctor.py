"""``edgeopt doctor``."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import click

from edgeopt.cli.command import Command
from edgeopt.cli.show import json_option, print_json, print_rows


@click.command("doctor", cls=Command)
@json_option
def command(as_json: bool) -> int:
    """Check this machine: versions, processor, and every target's toolchain with the line that installs it."""
    from edgeopt.frontend.huggingface.library import INSTALL, installed
    from edgeopt.plugins.registry import target_classes
    from edgeopt.plugins.target import processor_name

    rows = [
        {"what": "python", "state": "found", "detail": platform.python_version()},
        {"what": "edgeopt", "state": "found", "detail": version("edgeopt")},
        {"what": "torch", "state": "found", "detail": version("torch")},
        {"what": "processor", "state": "found", "detail": f"{processor_name()}, {os.cpu_count()} processors"},
    ]
    for name, cls in target_classes().items():
        probe = cls.probe()
        versions = ", ".join(f"{k} {v}" for k, v in probe.versions.items())
        state = "found" if probe.found else "missing"
        detail = versions if probe.install is None else f"{versions} install: {probe.install}".strip()
        rows.append({"what": f"target {name}", "state": state, "detail": detail})
    rows.append(
        {
            "what": "Hugging Face folders",
            "state": "found" if (found := installed()) else "missing",
            "detail": f"transformers {found}" if found else f"install: {INSTALL}",
        }
    )
    if as_json:
        print_json(rows)
        return 0
    missing = [number for number, row in enumerate(rows) if row["state"] != "found"]
    print_rows(list(rows[0]), [list(row.values()) for row in rows], missing)
    return 0
