"""The CUDA launchers through ctypes: compiled for the host, or by nvcc for the GPU that is there."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.kernels.cuda.inventory import ROOT

HERE = Path(__file__).parent
ARCHITECTURES = ("80", "86", "87", "89", "90", "110", "120")
TYPES = {"float32": 0, "float16": 1}
MAPS = ("given", "relu", "elu", "taylor", "hedgehog-exp", "hedgehog-split-softmax", "hedgehog-joint-softmax", "inline")
"""Feature maps in the order of ``EoFeatureMap``."""

requires_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


@cache
def host_library(folder: Path) -> ctypes.CDLL:
    """Build the launchers for the host."""
    return load(host_build(ROOT / "launchers.cu", folder))


def host_build(source: Path, folder: Path, constants: Mapping[str, object] | None = None) -> ctypes.CDLL:
    """Build a source for the host, every thread a fibre."""
    library = folder / f"lib{source.stem}.so"
    flags: list[str | Path] = [
        "-std=c++17",
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-include",
        HERE / "host.h",
    ]
    flags += [f"-D{name}={value}" for name, value in (constants or {}).items()]
    subprocess.run(["g++", "-x", "c++", "-I", ROOT, *flags, source, "-o", library], check=True)
    return ctypes.CDLL(str(library))


@cache
def gpu_library(folder: Path) -> ctypes.CDLL:
    """Build the launchers for the GPU that is here."""
    library = folder / "libedgeopt_gpu.so"
    flags: list[str | Path] = ["-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC", "-arch=native"]
    subprocess.run(["nvcc", *flags, ROOT / "launchers.cu", "-o", library], check=True)
    return load(ctypes.CDLL(str(library)))


def load(loaded: ctypes.CDLL) -> ctypes.CDLL:
    for name in ("eo_linear_attention_workspace", "eo_binary_linear_workspace"):
        getattr(loaded, name).restype = ctypes.c_size_t
    return loaded


def pointer(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def call(function: Any, *arguments: Any) -> None:
    """Call a launcher: arrays as pointers, floats as C floats."""
    converted = [
        pointer(a) if a is None or isinstance(a, np.ndarray) else ctypes.c_float(a) if isinstance(a, float) else a
        for a in arguments
    ]
    status = function(*converted, ctypes.c_void_p(None))
    assert status == 0, f"CUDA error {status}"
