"""Writes edgeopt/cli/flags.json from the declared options: ``python docs/make_flags.py``; a test compares the two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeopt.candidate.options import ExportOptions
from edgeopt.frontend.load import LoadOptions
from edgeopt.options import Option, declared
from edgeopt.plugins.target import TargetOptions

FILE = Path(__file__).parents[1] / "edgeopt" / "cli" / "flags.json"


def content() -> str:
    """Return the file's text."""
    groups = {"export": {**declared(TargetOptions), **declared(ExportOptions)}, "loading": declared(LoadOptions)}
    flags = {name: [_flag(one) for one in options.values() if one.help] for name, options in groups.items()}
    return json.dumps(flags, indent=1) + "\n"


def _flag(one: Option) -> dict[str, Any]:
    """Return what the command line needs to know of an option; those without a help have no flag."""
    is_converted = one.is_switch or (one.parse is None and one.plain_kind in (int, float))
    kind = one.plain_kind if is_converted else str
    spelling = f"{one.flag}/--no-{one.flag.removeprefix('--')}" if one.is_switch and one.default else one.flag
    known = {"name": one.name, "spelling": spelling, "kind": kind.__name__, "help": one.help}
    return {**known, "metavar": one.metavar, "is_many": one.is_many}


if __name__ == "__main__":
    FILE.write_text(content(), "utf-8")
