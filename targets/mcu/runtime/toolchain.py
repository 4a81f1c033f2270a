"""The compiler of each core: how C becomes an ELF, and how large that is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeopt.errors import EdgeoptError, ToolchainMissing
from edgeopt.foreign import first_error
from edgeopt.targets.mcu.runtime.core import read_core

GCC = "arm-none-eabi-gcc"
INSTALL = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror")
SECTIONS = ("-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True)
class Sections:
    """Bytes of an ELF's sections."""

    text: int
    rodata: int
    data: int
    bss: int


class ToolFailed(EdgeoptError):
    """A compiler or linker failed; ``said`` is all that it said, the message its first error."""

    def __init__(self, tool: str, status: int, said: str) -> None:
        super().__init__(
            f"{tool} ended with status {status}: {first_error(said)}",
            "mend what it names; if edgeopt wrote that, please report the model",
        )
        self.said = said


def require(tool: str) -> str:
    """Return the path of a tool; raise ToolchainMissing with the line that installs it."""
    path = shutil.which(tool)
    if path is None:
        raise ToolchainMissing(tool, INSTALL)
    return path


def command(tool: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a tool and return its stdout; raise ToolFailed where it fails."""
    done = subprocess.run([require(tool), *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode:
        raise ToolFailed(tool, done.returncode, done.stderr)
    return done.stdout


def compiler(core: str) -> str:
    """The C compiler that builds for ``core``."""
    return f"{read_core(core).tools}gcc"


def link(
    core: str,
    sources: Sequence[Path],
    script: Path | None,
    elf: Path,
    include: Sequence[Path] = (),
    define: Sequence[str] = (),
) -> Path:
    """Compile and link ``sources`` for ``core``, freestanding where a linker script is given; return the ELF."""
    flags = [*_compile_flags(core, include), *(f"-D{name}" for name in define)]
    if script is not None:
        flags += ["-nostartfiles", "-Wl,--gc-sections", f"-Wl,-T,{script}"]
    command(compiler(core), *flags, *sources, "-lm", "-o", elf)
    return elf


def compile_objects(core: str, sources: Sequence[Path], folder: Path, include: Sequence[Path] = ()) -> list[Path]:
    """Compile each source into an object file in ``folder``, its call graph beside it."""
    objects = []
    for source in sources:
        objects.append(folder / f"{source.stem}.o")
        flags = (*_compile_flags(core, include), "-fcallgraph-info=su")
        command(compiler(core), *flags, "-c", source, "-o", objects[-1])
    return objects


def _compile_flags(core: str, include: Sequence[Path]) -> list[str]:
    return [*WARNINGS, "-O2", *SECTIONS, *read_core(core).flags, *(f"-I{path}" for path in include)]


def sections(core: str, elf: Path) -> Sections:
    """Bytes of text, rodata, data and bss of an ELF or object file."""
    sizes = {"text": 0, "rodata": 0, "data": 0, "bss": 0}
    for line in command(f"{read_core(core).tools}size", "-A", elf).splitlines():
        name, *numbers = line.split()[:2] or [""]
        kind = name.split(".")[1] if name.startswith(".") else ""
        if kind in sizes:
            sizes[kind] += int(numbers[0])
    return Sections(**sizes)
