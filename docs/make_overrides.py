"""Writes edgeopt/deploy/overrides.py from the declared options: ``python docs/make_overrides.py``; a test compares."""

from __future__ import annotations

import textwrap
import typing
from importlib.metadata import entry_points
from pathlib import Path

from edgeopt.candidate.options import ExportOptions
from edgeopt.options import Option, declared
from edgeopt.plugins.registry import target_class

MODULE = Path(__file__).parents[1] / "edgeopt" / "deploy" / "overrides.py"
_PATHS = {"DATA", "DIR", "FILE", "JSON", "NAME|TOML", "NPZ", "PATH", "TOML"}
"""What help calls a value that is a path, or may be one."""
_HEAD = '''\
"""The keywords of ``export``, for type checkers and for readers. Written by ``python docs/make_overrides.py``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

'''
_CLASS = '''

class Overrides(TypedDict, total=False):
    """The options of an export, of the targets that come with edgeopt, and the parts that they stand in.

    Options of another package's target are unknown here: type checkers take them from a ``dict[str, Any]``.
    """

'''


def module() -> str:
    """Return the module's text."""
    own, parts = declared(ExportOptions), typing.get_type_hints(ExportOptions)
    named = {kind for name, kind in parts.items() if name not in own}
    named |= {typing.get_args(one.kind)[0] for one in own.values() if one.parse and one.is_many}
    homes = sorted({kind.__module__ for kind in named})
    imports = [
        f"from {home} import {', '.join(sorted(k.__name__ for k in named if k.__module__ == home))}" for home in homes
    ]
    fields = [_field(one, one.help) for one in own.values()]
    fields += [_field(one, text) for one, text in _of_targets().values()]
    fields += [f"    {name}: {kind.__name__}\n" for name, kind in parts.items() if name not in own]
    return _HEAD + "\n".join(imports) + "\n" + _CLASS + "".join(fields)


def _of_targets() -> dict[str, tuple[Option, str]]:
    """Return the options of edgeopt's own targets by name, and what help of which targets says of them."""
    found: dict[str, tuple[Option, dict[str, list[str]]]] = {}
    for entry in sorted(entry_points(group="edgeopt.targets")):
        if entry.value.startswith("edgeopt."):
            for name, one in declared(target_class(entry.name).Options).items():
                found.setdefault(name, (one, {}))[1].setdefault(one.help, []).append(entry.name)
    return {
        name: (one, " ".join(f"{', '.join(targets)}: {text}" for text, targets in said.items()))
        for name, (one, said) in found.items()
    }


def _field(one: Option, text: str) -> str:
    lines = textwrap.wrap(text, 108)
    end = "\n    " if len(lines) > 1 else ""
    told = '    """' + "\n    ".join(lines) + end + '"""\n' if lines else ""
    return f"    {one.name}: {_kind(one)}\n{told}"


def _kind(one: Option) -> str:
    """Return the type of what may be given, which is more than what is kept: a list for a tuple, a text for a shape."""
    if one.parse and one.is_many:
        kind = typing.get_args(one.kind)[0].__name__
        arrays = " | Mapping[str, Any]" if one.name == "inputs" else ""
        return f"str | {kind} | Sequence[str | {kind}]{arrays}"
    if one.is_many:
        return f"{one.kind} | list[{one.plain_kind.__name__}]"
    kind = one.kind.__name__ if isinstance(one.kind, type) else str(one.kind)
    kind = kind.replace("collections.abc.", "").replace("numpy.", "np.")
    paths = "os.PathLike[str] | " if one.metavar in _PATHS else ""
    return f"{'str | ' if one.parse else ''}{paths}{kind}"


if __name__ == "__main__":
    MODULE.write_text(module(), "utf-8")
