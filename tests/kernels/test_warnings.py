"""Kernels and generated C without a warning, for the strictest project that takes them in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeopt.kernels import mcu as kernels
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import LIBRARY, MicroOptions
from edgeopt.targets.mcu.runtime import toolchain
from edgeopt.targets.mcu.runtime.core import read_core
from tests.targets.mcu.quantized import quantize_over
from tests.targets.mcu.test_generated import InFloat
from tests.targets.mcu.test_leading_axes import OfMaps, batches, initialized
from tests.targets.mcu.test_lower import requires_tvm

STRICT = (*toolchain.WARNINGS, "-Wconversion", "-Wshadow", "-Wcast-align", "-O2", "-fsyntax-only")
COMPILERS = [
    ("gcc", "host"),
    ("clang", "host"),
    *((compiler, f"cortex-{core}") for compiler in (toolchain.GCC, "clang") for core in ("m0plus", "m4", "m55")),
]


def across(compiler: str, core: str) -> tuple[str, ...]:
    """What clang is told to compile for a core: it takes the C library of GCC's toolchain."""
    if core == "host" or compiler == toolchain.GCC:
        return ()
    archive = Path(toolchain.command(toolchain.GCC, "-print-file-name=libc.a").strip())
    return ("--target=arm-none-eabi", "-isystem", str(archive.parents[1] / "include"))


def assert_clean(compiler: str, core: str, sources: list[Path], include: Path) -> None:
    for tool in (compiler, *([toolchain.GCC] if core != "host" else [])):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    flags = (*across(compiler, core), *read_core(core).flags)
    command = [compiler, *STRICT, *flags, f"-I{include}", *map(str, sorted(sources))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize(("compiler", "core"), COMPILERS)
def test_kernels_compile_without_a_warning(compiler: str, core: str) -> None:
    isas = read_core(core).isas
    chosen = {kernel for kernel in kernels.inventory() if kernel.isa in isas}
    sources = [path for path in kernels.sources(chosen).values() if path.suffix == ".c"]
    assert sources
    assert_clean(compiler, core, sources, kernels.HEADER.parent)


def test_libraries_compile_without_a_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    program = quantize_over(initialized(OfMaps(rng)), batches(rng, 2, 3, 8, 8))
    for compiler, core in COMPILERS:
        folder = tmp_path / f"{compiler}-{core}"
        folder.mkdir()
        resolve("mcu:host-c" if core == "host" else f"mcu:{core}").compile(program, folder, MicroOptions())
        assert_clean(compiler, core, list((folder / LIBRARY).glob("*.c")), folder / LIBRARY)


@requires_tvm
def test_generated_code_compiles_without_a_warning(tmp_path: Path) -> None:
    program = quantize_over(initialized(InFloat()), batches(np.random.default_rng(0), 2, 4, 8))
    resolve("mcu:host-c").compile(program, tmp_path, MicroOptions())
    for compiler, core in COMPILERS:
        assert_clean(compiler, core, [tmp_path / LIBRARY / "network_generated.c"], tmp_path / LIBRARY)
