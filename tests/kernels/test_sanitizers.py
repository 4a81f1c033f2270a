"""Scalar kernels under the sanitizers of addresses and undefined behavior: the same bytes, and nothing found."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeopt.kernels import mcu as kernels

from . import bench, fuzz
from .test_bit_equal import VARIANTS

CASES = 12


def test_kernels_have_no_undefined_behavior(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    if not bench.has_sanitizers("gcc", tmp_path):
        pytest.skip("the sanitizers' runtime is not installed")
    rng = np.random.default_rng(0)
    chosen = [kernel for kernel in kernels.inventory() if kernel.isa == "scalar"]
    operators = {kernel: f"{kernel.dtype}_{kernel.op}" for kernel in chosen}
    makers = [m for k in chosen for m in VARIANTS.get(operators[k]) or (getattr(fuzz, k.op),)]
    cases = [maker(rng, "scalar") for maker in makers for _ in range(CASES)]
    cases += [fuzz.largest_sum(dtype, sign) for dtype in ("s8", "s8pow2", "w4") for sign in (1, -1)]
    results = bench.run("host-c", [case for case, _ in cases], sanitized=True)
    for (case, expected), result in zip(cases, results, strict=True):
        np.testing.assert_array_equal(result.y, expected, err_msg=repr(case))
