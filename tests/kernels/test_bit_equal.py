"""Every kernel returns the bytes of the numpy specification: scalar C on the host, the others under QEMU."""

from __future__ import annotations

import shutil
from functools import partial
from zlib import crc32

import numpy as np
import pytest

from edgeopt.kernels import mcu as kernels

from . import bench, fuzz, fuzz_binary

DEVICE_OF_ISA = {"scalar": "host-c", "dsp": "mps2-an386", "dsp16": "mps2-an386", "mve": "mps3-an547"}
VARIANTS = {
    "w4_conv2d": (
        fuzz.coded_conv2d,
        partial(fuzz.coded_conv2d, residual=True),
        partial(fuzz.coded_conv2d, in_place=True),
    ),
    "w4_linear": (fuzz.coded_linear,),
    "s8pow2_conv2d": (partial(fuzz.conv2d, shifts=True), partial(fuzz.conv2d, residual=True, shifts=True)),
    "s8pow2_depthwise_conv2d": (partial(fuzz.depthwise_conv2d, shifts=True),),
    "s8pow2_linear": (partial(fuzz.linear, shifts=True),),
    "b1_conv2d": (fuzz_binary.conv2d, partial(fuzz_binary.conv2d, as_bytes=True)),
    "b1_sign": (fuzz_binary.sign,),
    "b1_max_pool2d": (fuzz_binary.max_pool2d,),
    "s8_conv2d": (fuzz.conv2d, partial(fuzz.conv2d, residual=True), partial(fuzz.conv2d, in_place=True)),
    "s8_depthwise_conv2d": (fuzz.depthwise_conv2d, partial(fuzz.depthwise_conv2d, in_place=True)),
}
CASES = 60


def requires(device: str) -> None:
    if device != "host-c" and not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")):
        pytest.skip("the cross compiler or QEMU is not installed")


@pytest.mark.parametrize("kernel", kernels.inventory(), ids=lambda k: f"{k.dtype}-{k.op}-{k.isa}")
def test_kernel_equals_its_specification(kernel: kernels.Kernel) -> None:
    device = DEVICE_OF_ISA[kernel.isa]
    requires(device)
    rng = np.random.default_rng(crc32(kernel.symbol.encode()))  # data of its own for each kernel
    operator = f"{kernel.dtype}_{kernel.op}"
    makers = VARIANTS[operator] if operator in VARIANTS else (getattr(fuzz, kernel.op),)
    cases = [maker(rng, kernel.isa) for maker in makers for _ in range(CASES)]
    results = bench.run(device, [case for case, _ in cases])
    for (case, expected), result in zip(cases, results, strict=True):
        np.testing.assert_array_equal(result.y, expected, err_msg=repr(case))
