"""Scratch sizes: the manual's functions and Python's agree; the inventory, its files and its symbols agree."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeopt.kernels import mcu as kernels
from edgeopt.kernels.mcu import overlap, reference

from . import fuzz

PROGRAM = """
#include <stdio.h>
#include "edgeopt_kernels.h"
int main(void) {
    unsigned v[14];
    while (scanf("%u %u %u %u %u %u %u %u %u %u %u %u %u", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7, v + 8,
                 v + 9, v + 10, v + 11, v + 12) == 13) {
        const eo_window g = {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], 0, 0, 0, 0};
        printf("%zu %zu %zu %zu %zu %zu %zu %zu\\n", eo_s8_conv2d__scalar_scratch(&g, v[12]),
               eo_s8_conv2d__dsp_scratch(&g, v[12]), eo_s8_conv2d__dsp16_scratch(&g, v[12]),
               eo_s8_conv2d__mve_scratch(&g, v[12]), eo_s8_depthwise_conv2d__dsp_scratch(&g),
               eo_s8_depthwise_conv2d__mve_scratch(&g), eo_w4_conv2d__dsp_scratch(&g, v[12]),
               eo_w4_conv2d__mve_scratch(&g, v[12]));
    }
}
"""


def test_scratch_of_the_manual_is_that_of_the_planner(tmp_path: Path) -> None:
    (tmp_path / "scratch.c").write_text(PROGRAM)
    include = f"-I{kernels.HEADER.parent}"
    subprocess.run(["gcc", include, tmp_path / "scratch.c", "-o", tmp_path / "scratch"], check=True)
    rng = np.random.default_rng(0)
    lines, expected = [], []
    for _ in range(200):
        stride = int(rng.integers(1, 3))
        win = fuzz.window(rng, tuple(rng.integers(1, 6, 2).tolist()), (stride, stride))
        x = (*fuzz.map_size(rng, win), int(rng.integers(1, 70)))
        y = (*win.out_size(*x[:2]), int(rng.integers(1, 70)))
        residual = bool(rng.integers(2))
        fields = (*x, *y, *win.kernel, *win.stride, *win.padding[:2], int(residual))
        lines.append(" ".join(map(str, fields)))
        sizes = [overlap.conv2d_scratch(isa, win, x, y, residual) for isa in ("scalar", "dsp", "dsp16", "mve")]
        sizes += [overlap.depthwise_scratch(isa, win, x, y) for isa in ("dsp", "mve")]
        sizes += [overlap.coded_conv2d_scratch(isa, win, x, y, residual) for isa in ("dsp", "mve")]
        expected.append(sizes)
    done = subprocess.run([tmp_path / "scratch"], input="\n".join(lines), capture_output=True, text=True, check=True)
    assert [list(map(int, line.split())) for line in done.stdout.splitlines()] == expected


PRODUCTS = """
#include <stdio.h>
#include "edgeopt_kernels.h"
int main(void) {
    unsigned v[3];
    while (scanf("%u %u %u", v, v + 1, v + 2) == 3) {
        const eo_matmul s = {.depth = v[0], .columns = v[1]}, m = {.depth = v[1], .columns = v[2]};
        const eo_attention a = {s, m};
        printf("%zu %zu %zu %zu %zu\\n", eo_s8_matmul__dsp_scratch(&s), eo_s8_matmul__mve_scratch(&s),
               eo_s8_attention__scalar_scratch(&a), eo_s8_attention__dsp_scratch(&a), eo_s8_attention__mve_scratch(&a));
    }
}
"""


def test_scratch_of_products_is_that_of_the_planner(tmp_path: Path) -> None:
    (tmp_path / "scratch.c").write_text(PRODUCTS)
    include = f"-I{kernels.HEADER.parent}"
    subprocess.run(["gcc", include, tmp_path / "scratch.c", "-o", tmp_path / "scratch"], check=True)
    sizes = np.random.default_rng(0).integers(1, 300, (100, 3)).tolist()
    expected = [
        [overlap.matmul_scratch(isa, size, positions) for isa in ("dsp", "mve")]
        + [overlap.attention_scratch(isa, size, positions, out) for isa in ("scalar", "dsp", "mve")]
        for size, positions, out in sizes
    ]
    lines = "\n".join(" ".join(map(str, row)) for row in sizes)
    done = subprocess.run([tmp_path / "scratch"], input=lines, capture_output=True, text=True, check=True)
    assert [list(map(int, line.split())) for line in done.stdout.splitlines()] == expected


def test_every_kernel_is_defined_and_in_the_manual() -> None:
    assert len(kernels.inventory()) > 40
    header = kernels.HEADER.read_text()
    for kernel in kernels.inventory():
        assert re.search(rf"\b{kernel.symbol}\b", header), f"the manual does not declare {kernel.symbol}"
        assert re.search(rf"^void {kernel.symbol}\(", kernel.path.read_text(), re.MULTILINE)


def test_every_operator_has_its_specification_in_scalar_c() -> None:
    operators = {(kernel.dtype, kernel.op) for kernel in kernels.inventory()}
    assert {(k.dtype, k.op) for k in kernels.inventory() if k.isa == "scalar"} == operators


def test_a_distance_is_what_a_walk_over_all_bytes_finds() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        win = fuzz.window(rng, tuple(rng.integers(1, 4, 2).tolist()), tuple(rng.integers(1, 3, 2).tolist()))
        x = (*fuzz.map_size(rng, win), int(rng.integers(1, 4)))
        y = (*win.out_size(*x[:2]), int(rng.integers(1, 4)))
        assert overlap.conv2d_distance("scalar", win, x, y) >= _walked(win, x, y)


def _walked(win: reference.Window, x: tuple[int, int, int], y: tuple[int, int, int]) -> int:
    """The least x - y at which no write of a pixel comes before the last read of those bytes, read by read."""
    bytes_of = np.arange(int(np.prod(x))).reshape(x)
    patches = win.patches(bytes_of + 1, 0).reshape(y[0] * y[1], -1) - 1
    last_read = np.full(int(np.prod(x)), -1)
    for pixel, read in enumerate(patches):
        last_read[read[read >= 0]] = pixel
    needed = [
        written - byte
        for pixel in range(y[0] * y[1])
        for written in range(pixel * y[2], (pixel + 1) * y[2])
        for byte in np.flatnonzero(last_read >= pixel)[:1]
    ]
    found: int = max(needed) + 1
    return found


@pytest.mark.parametrize("scale", [0.5, 1.0, -0.1])
def test_scales_outside_the_requantization_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        reference.multiplier(scale)
