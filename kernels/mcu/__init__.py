"""The inventory of integer kernels, read from ``kernels.inc``: which operator has which ISA, its symbol and file.

Everything else about them stands in ``include/edgeopt_kernels.h`` (the manual), ``packing.py`` (the constant
blocks they read) and ``overlap.py`` (scratch and the memory that input and output may share).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent
HEADER = ROOT / "include" / "edgeopt_kernels.h"

_ROW = re.compile(r"^EO_KERNEL\((\w+), (\w+), (\w+)\)$", re.MULTILINE)
_SYMBOL = re.compile(r"\beo_\w+__[a-z0-9]+\b")
_LOCAL_INCLUDE = re.compile(r'^#include "(\.\./common/\w+\.h)"$', re.MULTILINE)


@dataclass(frozen=True, order=True)
class Kernel:
    """One kernel: ``Kernel("s8", "conv2d", "dsp16")`` is ``eo_s8_conv2d__dsp16`` in ``s8_conv2d/dsp16.c``."""

    dtype: str
    op: str
    isa: str

    @property
    def symbol(self) -> str:
        """The function's name in C."""
        return f"eo_{self.dtype}_{self.op}__{self.isa}"

    @property
    def path(self) -> Path:
        """The file that defines it."""
        return ROOT / f"{self.dtype}_{self.op}" / f"{self.isa}.c"


@cache
def inventory() -> tuple[Kernel, ...]:
    """All kernels, in the order of ``kernels.inc``."""
    return tuple(Kernel(*row) for row in _ROW.findall((ROOT / "kernels.inc").read_text()))


def sources(kernels: set[Kernel]) -> list[Path]:
    """The files that the kernels are built from, sorted: their C, the common headers they include, the kernels that
    these call, the manual."""
    by_symbol = {kernel.symbol: kernel.path for kernel in inventory()}
    found: set[Path] = set()
    pending = {kernel.path for kernel in kernels}
    while pending:
        path = pending.pop()
        found.add(path)
        text = path.read_text()
        headers = {ROOT / "common" / Path(name).name for name in _LOCAL_INCLUDE.findall(text)}
        called = {by_symbol[symbol] for symbol in _SYMBOL.findall(text) if symbol in by_symbol}
        pending |= (headers | called) - found
    return sorted(found | {HEADER})
