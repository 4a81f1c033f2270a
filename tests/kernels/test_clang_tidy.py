"""clang-tidy, as ``.clang-tidy`` has it, finds nothing in the kernels, in printed networks and in what runs them."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeopt.kernels import mcu as kernels
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import LIBRARY, MicroOptions
from edgeopt.targets.mcu.runtime import qemu
from edgeopt.targets.mcu.runtime.core import read_core
from edgeopt.targets.openvino import extension
from tests.targets.mcu.quantized import quantize_over
from tests.targets.mcu.test_leading_axes import OfRows, batches, initialized

from .test_warnings import across

pytestmark = [pytest.mark.nightly, pytest.mark.skipif(shutil.which("clang-tidy") is None, reason="no clang-tidy here")]
CORES = {"scalar": "host", "dsp": "cortex-m4", "dsp16": "cortex-m4", "mve": "cortex-m55"}


def tidy(sources: list[Path], *flags: str) -> None:
    assert sources
    command = ["clang-tidy", "-quiet", *map(str, sorted(sources)), "--", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[:3000] + done.stderr[-500:]


@pytest.mark.parametrize("isa", CORES)
def test_kernels_of_microcontrollers(isa: str) -> None:
    core = CORES[isa]
    if core != "host" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("the cross compiler is not installed")
    sources = [kernel.path for kernel in kernels.inventory() if kernel.isa == isa]
    tidy(sources, "-std=c99", f"-I{kernels.HEADER.parent}", *across("clang", core), *read_core(core).flags)


def test_a_printed_network_and_what_runs_it(tmp_path: Path) -> None:
    program = quantize_over(initialized(OfRows(np.random.default_rng(0))), batches(np.random.default_rng(1), 2, 4, 8))
    resolve("mcu:host-c").compile(program, tmp_path, MicroOptions())
    sources = [tmp_path / LIBRARY / "network.c", qemu.FIRMWARE / "main.c", qemu.FIRMWARE / "host.c"]
    tidy(sources, "-std=c99", "-O2", f"-I{qemu.FIRMWARE}", f"-I{tmp_path / LIBRARY}")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels for OpenVINO are for x86-64")
def test_kernels_of_openvino() -> None:
    found = extension.SOURCES.rglob("*.cpp")
    sources = [path for path in found if path.stem.startswith(("scalar", "avx2", "activation"))]
    tidy(sources, "-std=c++17", "-mavx2", "-mfma", "-mf16c", f"-I{extension.SOURCES}")
