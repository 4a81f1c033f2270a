"""The CUDA launchers through ctypes: compiled for the host, or by nvcc for the GPU that is there."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.kernels.cuda.inventory import ROOT

HERE = Path(__file__).parent
ARCHITECTURES = ("80", "86", "87", "89", "90", "110", "120")
TYPES = {"float32": 0, "float16": 1}
MAPS = ("given", "relu", "elu", "taylor", "hedgehog-exp", "hedgehog-split-softmax", "hedgehog-joint-softmax")
"""Feature maps in the order of ``EoFeatureMap``."""

requires_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


@cache
def host_library(folder: Path) -> ctypes.CDLL:
    """Build the launchers for the host."""
    library = folder / "libedgeopt_host.so"
    source = ROOT / "launchers.cu"
    flags = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-include", HERE / "host.h"]
    subprocess.run(["g++", "-x", "c++", *flags, source, "-o", library], check=True)
    return load(library)


@cache
def gpu_library(folder: Path) -> ctypes.CDLL:
    """Build the launchers for the GPU that is here."""
    library = folder / "libedgeopt_gpu.so"
    flags = ["-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC", "-arch=native"]
    subprocess.run(["nvcc", *flags, ROOT / "launchers.cu", "-o", library], check=True)
    return load(library)


def load(library: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library))
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
