"""Layers of packed signs equal float layers of signs, exactly where sums are integers, and travel to every runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt.onnx import translate
from edgeopt.ops.binary_conv2d import BINARY_CONV2D, binary_conv2d
from edgeopt.ops.binary_linear import BINARY_LINEAR, binary_linear
from edgeopt.plugins.testing import to_program
from edgeopt.quant.binary import dot_signs, pack, signs
from tests.ops.on_targets import NAMES, error_on
from tests.typed import some


def linear_operands(inputs: int, outputs: int = 5, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    weight = pack(torch.randn(outputs, inputs))
    return torch.randn(2, 3, inputs, dtype=dtype), *(
        torch.randn(n, dtype=dtype) if n else weight for n in (inputs, 0, outputs, outputs)
    )


def conv_operands(channels: int, kernel: tuple[int, int] = (3, 3)) -> tuple[torch.Tensor, ...]:
    weight = pack(torch.randn(5, *kernel, channels))
    return torch.randn(2, channels, 9, 8), torch.randn(channels), weight, torch.randn(5), torch.randn(5)


@pytest.mark.parametrize("inputs", [1, 31, 32, 33, 192, 1000])
def test_linear_counts_bits(inputs: int) -> None:
    x, shift, weight, scale, bias = linear_operands(inputs)
    sums = dot_signs(pack(x + shift).unsqueeze(-2), weight, inputs)
    assert torch.equal(binary_linear(x, shift, weight, scale, bias), sums * scale + bias)


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "dilation"),
    [(3, (3, 3), (1, 1), (1, 1), (1, 1)), (64, (1, 1), (2, 2), (0, 0), (1, 1)), (40, (3, 2), (2, 1), (2, 0), (2, 1))],
)
def test_convolution_is_that_of_signs(channels: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    x, shift, _, scale, bias = conv_operands(channels)
    weight = signs(torch.randn(5, channels, *kernel))
    expected = functional.conv2d(signs(x + shift[:, None, None]), weight, None, stride, padding, dilation)
    expected = expected * scale[:, None, None] + bias[:, None, None]
    packed = pack(weight.movedim(1, -1))
    assert torch.equal(binary_conv2d(x, shift, packed, scale, bias, stride, padding, dilation), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators_pass_torchs_own_checks(dtype: torch.dtype) -> None:
    torch.library.opcheck(BINARY_LINEAR, linear_operands(40, dtype=dtype))
    torch.library.opcheck(BINARY_CONV2D, (*conv_operands(40), [1, 2], [1, 0], [2, 1]))


@pytest.mark.parametrize(
    ("place", "operand", "message"),
    [
        (1, torch.ones(3), "shift"),
        (2, torch.ones(5, 2), "packed signs"),
        (2, torch.ones(5, 1, dtype=torch.int32), "1 words for 40 inputs"),
        (3, torch.ones(4), "scale"),
        (4, torch.ones(1), "bias"),
    ],
)
def test_shape_rule_refuses(place: int, operand: torch.Tensor, message: str) -> None:
    operands = list(linear_operands(40))
    operands[place] = operand
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match=message):
        BINARY_LINEAR(*operands)


class Layers(nn.Module):
    """A convolution and a linear of packed signs, each with a size that fills no word."""

    def __init__(self) -> None:
        super().__init__()
        for kind, operands in (("conv", conv_operands(40)), ("linear", linear_operands(5 * 5 * 8))):
            for name, operand in zip(("shift", "weight", "scale", "bias"), operands[1:], strict=True):
                self.register_buffer(f"{kind}_{name}", operand)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv = (self.conv_shift, self.conv_weight, self.conv_scale, self.conv_bias)
        y = BINARY_CONV2D(x, *conv, [2, 1], [1, 1], [1, 1]).flatten(1)
        out: torch.Tensor = BINARY_LINEAR(y, self.linear_shift, self.linear_weight, self.linear_scale, self.linear_bias)
        return out


@pytest.mark.parametrize("name", NAMES)
def test_targets_agree(name: str, tmp_path: Path) -> None:
    assert error_on(name, Layers(), (torch.randn(2, 40, 9, 8),), tmp_path).relative <= 1e-6


def test_onnx_holds_packed_weights() -> None:
    model = translate(to_program(Layers(), (torch.randn(2, 40, 9, 8),))).model
    assert {name for domain, name, _ in model.functions if domain == "edgeopt"} == {"BinaryConv2d", "BinaryLinear"}
    held = {value.name: value.const_value for value in model.graph.initializers.values()}
    assert some(held["conv_weight"]).shape.numpy() == (5, 3, 3, 2)
    assert some(held["linear_weight"]).shape.numpy() == (5, 7)
