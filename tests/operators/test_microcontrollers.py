"""Operators in INT8, in C for microcontrollers run here: near the quantized program, or refused in one sentence."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgeopt.errors import EdgeoptError
from edgeopt.ir.metrics import compare
from edgeopt.plugins.registry import resolve
from tests.passes.builders import Call
from tests.targets.mcu.quantized import quantize_over

_LEAST_DB = 30.0
"""Two steps of an output's own scale lie well above it; a wrong divisor or a wrong sample far below."""

IMAGE, TOKENS = (2, 4, 9, 8), (2, 5, 8)
MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "avg_pool2d padded": (nn.AvgPool2d(3, 2, 1), IMAGE),
    "avg_pool2d without padding": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "avg_pool2d ceil": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "avg_pool2d divisor": (nn.AvgPool2d(3, 2, divisor_override=5), IMAGE),
    "avg_pool1d": (nn.AvgPool1d(3, 2), TOKENS),
    "max_pool2d ceil": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "max_pool2d dilated": (nn.MaxPool2d(3, 1, dilation=2), IMAGE),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d(1), IMAGE),
    "interpolate nearest": (Call(lambda m, x: F.interpolate(x, scale_factor=2)), IMAGE),
    "interpolate antialiased": (
        Call(lambda m, x: F.interpolate(x, size=5, mode="bilinear", antialias=True)),
        IMAGE,
    ),
    "conv2d same": (nn.Conv2d(4, 6, 4, padding="same"), IMAGE),
    "conv2d dilated groups": (nn.Conv2d(4, 8, 3, dilation=2, groups=2), IMAGE),
    "conv_transpose2d": (nn.ConvTranspose2d(4, 6, 3, 2, 1), IMAGE),
    "softmax": (nn.Softmax(-1), TOKENS),
    "layer_norm": (nn.LayerNorm(8), TOKENS),
    "group_norm": (nn.GroupNorm(2, 4), IMAGE),
    "gelu": (nn.GELU(), TOKENS),
    "logsigmoid": (nn.LogSigmoid(), TOKENS),
    "mean": (Call(lambda m, x: x.mean((2, 3))), IMAGE),
    "roll": (Call(lambda m, x: torch.roll(x, 1, 2) + x), IMAGE),
}


@pytest.mark.parametrize("name", MODULES)
def test_an_operator_is_near_the_quantized_program_or_refused(name: str, tmp_path: Path) -> None:
    target = resolve("mcu:host-c")
    if not (probe := target.probe()).found:
        pytest.skip(str(probe.install))
    torch.manual_seed(0)
    module, shape = MODULES[name]
    inputs = [np.random.default_rng(seed).standard_normal(shape).astype(np.float32) for seed in range(4)]
    program = quantize_over(module.eval(), inputs)
    feed = {program.inputs[0].name: inputs[0]}
    options = target.Options(**target.device.options)
    try:
        target.compile(program, tmp_path, options)
        with closing(target.open(tmp_path, options)) as session:
            got = session.run(feed)
    except EdgeoptError as error:
        assert error.hint, error.message
        return
    assert compare(program.run(feed), got).sqnr_db > _LEAST_DB
