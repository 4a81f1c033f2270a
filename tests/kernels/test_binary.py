"""Layers of signs: numpy against the operators of edgeopt, what a convolution costs, and how large it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeopt.kernels import mcu as kernels
from edgeopt.kernels.mcu import binary, reference
from edgeopt.ops.binary_conv2d import BINARY_CONV2D
from edgeopt.quant.binary import pack

from . import bench, fuzz_binary
from .test_bit_equal import requires


def test_the_specification_is_the_operator() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        kernel, stride = tuple(rng.integers(1, 5, 2).tolist()), tuple(rng.integers(1, 4, 2).tolist())
        pad = [int(rng.integers(0, k)) for k in kernel]
        channels, outputs = int(rng.integers(1, 70)), int(rng.integers(1, 40))
        x = rng.choice(np.array([-1, 1], np.int8), (9, 8, channels))
        weights = rng.choice(np.array([-1, 1], np.int8), (outputs, *kernel, channels))
        window = reference.Window(kernel, stride, (pad[0], pad[1], pad[0], pad[1]))
        expected = BINARY_CONV2D(
            torch.from_numpy(x).permute(2, 0, 1)[None].float(), torch.zeros(channels),
            pack(torch.from_numpy(weights)), torch.ones(outputs), torch.zeros(outputs), stride, pad, [1, 1],
        )  # fmt: skip
        sums = binary.sums(binary.pack(x), weights, window)
        np.testing.assert_array_equal(sums.transpose(2, 0, 1), expected[0].numpy())
        words = pack(torch.from_numpy(weights)).numpy()
        np.testing.assert_array_equal(binary.pack(weights).view(np.int32), words)


def test_signs_take_a_third_of_the_instructions_of_int8() -> None:
    requires("mps2-an386")
    signs, int8 = (result.cost for result in bench.run("mps2-an386", fuzz_binary.beside_int8(16, 3, 64, 64, "dsp")))
    assert signs <= 0.35 * 16 * 16 * 64 * 64 * 9
    assert signs <= int8 / 3


def test_a_weight_takes_a_bit_and_a_channel_a_word() -> None:
    for isa in ("scalar", "dsp", "mve"):
        for kernel in (1, 3, 5):
            case, _ = fuzz_binary.beside_int8(4, kernel, 64, 64, isa)
            assert case.packed.nbytes == 64 * 64 * kernel**2 // 8 + 64 * 4


PROGRAM = """
#include <stdio.h>
#include "edgeopt_kernels.h"
int main(void) {
    unsigned v[4];
    while (scanf("%u %u %u %u", v, v + 1, v + 2, v + 3) == 4) {
        const eo_window g = {.kernel_h = v[0], .kernel_w = v[1], .in_c = v[2], .out_c = v[3]};
        printf("%zu %zu %zu\\n", eo_b1_conv2d__scalar_scratch(&g), eo_b1_conv2d__dsp_scratch(&g),
               eo_b1_conv2d__mve_scratch(&g));
    }
}
"""


def test_scratch_of_the_manual_is_that_of_the_planner(tmp_path: Path) -> None:
    (tmp_path / "scratch.c").write_text(PROGRAM)
    include = f"-I{kernels.HEADER.parent}"
    subprocess.run(["gcc", include, tmp_path / "scratch.c", "-o", tmp_path / "scratch"], check=True)
    sizes = [
        (*rng.integers(1, 6, 2).tolist(), *rng.integers(1, 200, 2).tolist()) for rng in [np.random.default_rng(0)] * 50
    ]
    lines = "\n".join(" ".join(map(str, row)) for row in sizes)
    done = subprocess.run([tmp_path / "scratch"], input=lines, capture_output=True, text=True, check=True)
    expected = [
        [binary.conv2d_scratch(isa, reference.Window((h, w)), ins, outs) for isa in ("scalar", "dsp", "mve")]
        for h, w, ins, outs in sizes
    ]
    assert [list(map(int, line.split())) for line in done.stdout.splitlines()] == expected


def test_scales_outside_the_requantization_are_refused() -> None:
    with pytest.raises(ValueError, match="leave the integers' range"):
        binary.Requant.of(np.array([0.0]), np.array([1.0]), 1.0, reference.Clamp(0))
