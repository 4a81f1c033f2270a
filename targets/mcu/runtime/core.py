"""Processor cores, each from ``cores/<name>.toml``: how C is compiled for it, and which kernels it has."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgeopt.errors import UserError, nearest

_FOLDER = Path(__file__).parents[1] / "cores"


@dataclass(frozen=True)
class Core:
    """A processor core: what its compiler's tools begin with, the compiler's flags, and ``isas``.

    These are the instruction sets of its kernels, the fastest first.
    """

    description: str
    tools: str
    flags: tuple[str, ...]
    isas: tuple[str, ...]


@cache
def read_core(name: str) -> Core:
    """Return a core by name.

    Raises UserError with the nearest names where there is none.
    """
    files = {path.stem: path for path in _FOLDER.glob("*.toml")}
    if name not in files:
        raise UserError(f"unknown core '{name}'", nearest(name, files))
    facts = tomllib.loads(files[name].read_text("utf-8"))
    return Core(facts["description"], facts["tools"], tuple(facts["flags"]), tuple(facts["isas"]))
