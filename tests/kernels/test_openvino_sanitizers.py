"""Kernels of the OpenVINO extension, without OpenVINO, under the sanitizers of addresses and undefined behavior."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeopt.targets.openvino import extension

from . import bench

HARNESS = Path(__file__).parent / "openvino"
KERNELS = ("b1_linear", "b1_matmul", "f32_linear_attention")
SHARED = ("common/activation.cpp", "f32_linear_attention/scalar_features.cpp")
CASES = 60


def _build(tool: str, isa: str, folder: Path) -> Path:
    """What fuzzes the kernels of one instruction set; the scalar ones are the specification of floats."""
    levels = {"scalar", isa}
    sources = [*sorted(HARNESS.glob("*.cpp")), *(extension.SOURCES / name for name in SHARED)]
    sources += [extension.SOURCES / kernel / f"{level}.cpp" for kernel in KERNELS for level in sorted(levels)]
    objects = []
    for index, source in enumerate(sources):
        objects.append(folder / f"{index}.o")
        flags = (*extension.flags(source), "-O0", *bench.SANITIZERS, f"-DEDGEOPT_UNDER_TEST={isa}")
        include = (f"-I{extension.SOURCES}", f"-I{HARNESS}")
        subprocess.run([tool, *flags, *include, "-c", source, "-o", objects[-1]], check=True)
    subprocess.run([tool, *bench.SANITIZERS, *objects, "-o", folder / "fuzz"], check=True)
    return folder / "fuzz"


def _runs(isa: str) -> bool:
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text().split() if processor.exists() else ()
    return {
        "scalar": set(),
        "avx2": {"avx2", "fma"},
        "avx512": {"avx512f", "avx512bw", "avx512vl", "avx512_vpopcntdq"},
    }[isa] <= set(flags)


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_kernels_have_no_undefined_behavior(isa: str, tmp_path: Path) -> None:
    tool = extension.compiler()
    if tool is None:
        pytest.skip("no C++ compiler is installed")
    if not _runs(isa):
        pytest.skip(f"this processor has no {isa}")
    if not bench.has_sanitizers(tool, tmp_path):
        pytest.skip("the sanitizers' runtime is not installed")
    done = subprocess.run([_build(tool, isa, tmp_path), str(CASES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
