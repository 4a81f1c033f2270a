"""C compiled once: exports to microcontrollers compile the same kernels again and again, once to see how large they
are and once to run them.

An object file is known by the compiler, its flags and the text of the source and of all headers that it includes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from edgeopt.targets.mcu.runtime import toolchain

_INCLUDED = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
_LINKED = ("-Wl,", "-l", "-nostartfiles")
_COMPILERS = ("gcc", toolchain.GCC)


@contextmanager
def compiled_once(folder: Path) -> Iterator[None]:
    """Keep object files in ``folder`` while the block runs, and take from there what is compiled or linked again."""
    folder.mkdir(parents=True, exist_ok=True)
    run = toolchain.command

    def command(tool: str, *arguments: str | Path, cwd: Path | None = None) -> str:
        given = [str(argument) for argument in arguments]
        sources = [Path(argument) for argument in given if argument.endswith(".c")]
        if tool not in _COMPILERS or "-o" not in given or cwd is not None:
            return run(tool, *given, cwd=cwd)
        written = Path(given[given.index("-o") + 1])
        flags = [a for a in given if not a.endswith(".c") and a not in ("-c", "-o", str(written))]
        compiling = [flag for flag in flags if not flag.startswith(_LINKED)]
        kept = [kept_object(tool, source, compiling) for source in sources]
        if "-c" not in given:
            return run(tool, *compiling, *kept, *(flag for flag in flags if flag not in compiling), "-o", written)
        for made in kept[0].parent.iterdir():
            shutil.copy(made, written.with_suffix(made.suffix))
        return ""

    def kept_object(tool: str, source: Path, flags: list[str]) -> Path:
        place = folder / _key(tool, source, flags)
        if not place.exists():
            unfinished = Path(tempfile.mkdtemp(dir=folder))
            run(tool, *flags, "-c", source, "-o", unfinished / f"{source.stem}.o")
            try:
                unfinished.rename(place)
            except OSError:  # another process was first
                shutil.rmtree(unfinished)
        return place / f"{source.stem}.o"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toolchain, "command", command)
        yield


def _key(tool: str, source: Path, flags: list[str]) -> str:
    folders = [Path(flag.removeprefix("-I")) for flag in flags if flag.startswith("-I")]
    told = [_version(tool), source.name, *(flag for flag in flags if not flag.startswith("-I"))]
    parts = [part.encode() for part in told] + [file.read_bytes() for file in _read(source, folders)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@cache
def _version(tool: str) -> str:
    path = Path(toolchain.require(tool)).resolve()
    return f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"


def _read(source: Path, folders: list[Path]) -> list[Path]:
    """Return a source and the headers that it includes by name, and theirs."""
    found: dict[Path, None] = {}
    pending = [source]
    while pending:
        if (file := pending.pop()) in found:
            continue
        found[file] = None
        for name in _INCLUDED.findall(file.read_text("utf-8")):
            places = (Path(os.path.normpath(folder / name)) for folder in (file.parent, *folders))
            pending += [place for place in places if place.exists()][:1]
    return list(found)
