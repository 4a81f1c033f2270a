"""The integer kernels: which operator has which instruction sets, its symbols and files.

A package's kernels are in one folder, whose layout is the inventory: ``<dtype>_<op>/<isa>.c`` defines the function
``<prefix>_<dtype>_<op>__<isa>``. Everything else about edgeopt's own stands in ``include/edgeopt_kernels.h`` (the
manual), ``packing.py`` (the constant blocks they read) and ``overlap.py`` (scratch and the memory that input and output
may share).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgeopt.errors import EdgeoptError

ROOT = Path(__file__).parent
HEADER = ROOT / "include" / "edgeopt_kernels.h"

_SYMBOL = re.compile(r"\b\w+__[a-z0-9]+\b")
_LOCAL_INCLUDE = re.compile(r'^#include "(?:\.\./common/)?(\w+\.h)"$', re.MULTILINE)


@dataclass(frozen=True, order=True)
class Package:
    """Whose kernels they are: ``folder`` holds them, ``prefix`` begins the names of their functions."""

    prefix: str
    folder: Path

    def kernels(self) -> tuple[Kernel, ...]:
        """All kernels, sorted."""
        return _found(self)


OWN = Package("eo", ROOT)
"""edgeopt's own kernels."""


@dataclass(frozen=True, order=True)
class Kernel:
    """One kernel: ``Kernel("s8", "conv2d", "dsp16")`` is ``eo_s8_conv2d__dsp16`` in ``s8_conv2d/dsp16.c``."""

    dtype: str
    op: str
    isa: str
    package: Package = OWN

    @property
    def symbol(self) -> str:
        """The function's name in C."""
        return f"{self.package.prefix}_{self.dtype}_{self.op}__{self.isa}"

    @property
    def path(self) -> Path:
        """The file that defines it."""
        return self.package.folder / f"{self.dtype}_{self.op}" / f"{self.isa}.c"

    @property
    def file(self) -> str:
        """The name of that file in a library: ``s8_conv2d_dsp16.c``, behind the prefix of another package's."""
        prefix = "" if self.package == OWN else f"{self.package.prefix}_"
        return f"{prefix}{self.dtype}_{self.op}_{self.isa}.c"

    @property
    def prototype(self) -> str:
        """The function's declaration, as its file defines it; raises EdgeoptError where that does not."""
        found = re.search(rf"^void {self.symbol}\([^)]*\)", self.path.read_text("utf-8"), re.MULTILINE)
        if found is None:
            raise EdgeoptError(f"{self.path} does not define {self.symbol}", "define it as void, at a line's beginning")
        return f"{' '.join(found.group().split())};"


@cache
def _found(package: Package) -> tuple[Kernel, ...]:
    files = [(*path.parent.name.split("_", 1), path.stem) for path in sorted(package.folder.glob("*_*/*.c"))]
    return tuple(Kernel(dtype, op, isa, package) for dtype, op, isa in files)


def inventory() -> tuple[Kernel, ...]:
    """All of edgeopt's own kernels."""
    return OWN.kernels()


def sources(kernels: Collection[Kernel]) -> dict[str, Path]:
    """What kernels are built from, by name in one folder.

    That is their C, the common headers they include, the kernels that these call, the manual. Raises EdgeoptError where
    a kernel includes another header.
    """
    packages = {OWN, *(kernel.package for kernel in kernels)}
    by_symbol = {kernel.symbol: kernel for package in packages for kernel in package.kernels()}
    found = {HEADER.name: HEADER}
    pending = {kernel.file: kernel.path for kernel in kernels}
    while pending:
        name, path = pending.popitem()
        found[name] = path
        text = path.read_text("utf-8")
        called = [by_symbol[symbol] for symbol in _SYMBOL.findall(text) if symbol in by_symbol]
        needed = {kernel.file: kernel.path for kernel in called} | _headers(path, text)
        pending |= {name: path for name, path in needed.items() if name not in found}
    return dict(sorted(found.items()))


def _headers(path: Path, text: str) -> dict[str, Path]:
    headers = {name: HEADER if name == HEADER.name else ROOT / "common" / name for name in _LOCAL_INCLUDE.findall(text)}
    for name, header in headers.items():
        if not header.is_file():
            raise EdgeoptError(f"{path} includes {name}, which is not of edgeopt's kernels", "put its text in the file")
    return headers
