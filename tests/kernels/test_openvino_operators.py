"""Operators of the OpenVINO extension, called as OpenVINO does, under the sanitizers of addresses and behavior."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.targets.openvino import extension

from . import bench

HARNESS = Path(__file__).parent / "openvino"
CASES = 300


def _objects(tool: str, folder: Path) -> Iterator[Path]:
    """Compile the operators, their kernels for every instruction set, and what calls them."""
    ours = [*(HARNESS / "operators").glob("*.cpp"), *extension.SOURCES.glob("*/*.cpp")]
    include = ("-isystem", extension.installed() / "include", f"-I{extension.SOURCES}", f"-I{HARNESS}")
    for index, source in enumerate(sorted(ours)):
        target = folder / f"{index}.o"
        command: list[str | Path] = [
            tool,
            *extension.flags(source),
            "-O0",
            *bench.SANITIZERS,
            *include,
            "-c",
            source,
            "-o",
            target,
        ]
        subprocess.run(command, check=True)
        yield target


@pytest.mark.nightly
def test_operators_have_no_undefined_behavior(tmp_path: Path) -> None:
    tool = extension.compiler()
    if tool is None:
        pytest.skip("no C++ compiler is installed")
    if not bench.has_sanitizers(tool, tmp_path):
        pytest.skip("the sanitizers' runtime is not installed")
    linked: tuple[str | Path, ...] = (*extension.libraries(), f"-Wl,-rpath,{extension.installed() / 'libs'}")
    subprocess.run([tool, *bench.SANITIZERS, *_objects(tool, tmp_path), *linked, "-o", tmp_path / "fuzz"], check=True)
    # OpenVINO keeps what it allocates once.
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([tmp_path / "fuzz", str(CASES)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
