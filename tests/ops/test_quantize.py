from typing import Any

import pytest
import torch

from edgeopt.ops.quantize import dequantize, quantize

TENSOR = torch.tensor(0.5)


def test_rounds_half_to_even_and_saturates() -> None:
    x = torch.tensor([0.25, 0.75, -0.25, -0.75, 1.25, 1e9, -1e9])
    q = quantize(x, TENSOR, torch.tensor(0, dtype=torch.int8), 0, torch.int8)
    assert q.tolist() == [0, 2, 0, -2, 2, 127, -128]
    assert q.dtype == torch.int8


def test_unsigned_with_zero_point() -> None:
    q = quantize(torch.tensor([-1.0, 0.0, 1.0]), TENSOR, torch.tensor(3, dtype=torch.uint8), 0, torch.uint8)
    assert q.tolist() == [1, 3, 5]


def test_per_channel_round_trip_is_within_half_a_step() -> None:
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    scale = x.abs().amax(dim=(0, 2)) / 127
    zero = torch.zeros(3, dtype=torch.int8)
    back = dequantize(quantize(x, scale, zero, 1, torch.int8), scale, zero, 1)
    assert torch.all((back - x).abs() <= scale.view(1, 3, 1) / 2 * (1 + 1e-6))


def test_int32_is_dequantized_without_losing_its_low_bits() -> None:
    q = torch.tensor([2**31 - 1, -(2**31), 16777217], dtype=torch.int32)
    out = dequantize(q, torch.tensor(2.0**-20), torch.tensor(0, dtype=torch.int32), 0)
    assert torch.equal(out, (q.double() * 2.0**-20).float())


def test_operators_pass_torchs_own_checks() -> None:
    x, scale = torch.randn(2, 3), torch.rand(3) + 0.1
    zero = torch.zeros(3, dtype=torch.int8)
    torch.library.opcheck(torch.ops.edgeopt.quantize.default, (x, scale, zero, 1, torch.int8))
    q = torch.ops.edgeopt.quantize(x, scale, zero, 1, torch.int8)
    torch.library.opcheck(torch.ops.edgeopt.dequantize.default, (q, scale, zero, 1))


@pytest.mark.parametrize(
    ("scale", "zero", "axis", "message"),
    [
        (torch.ones(3), torch.zeros(3, dtype=torch.int8), 2, "axis 2"),
        (torch.ones(2), torch.zeros(2, dtype=torch.int8), 1, "2 scales for 3 channels"),
        (torch.ones(3), torch.zeros(3, dtype=torch.uint8), 1, "zero_point is torch.uint8"),
        (torch.ones(3), torch.zeros((), dtype=torch.int8), 1, "scale"),
        (torch.ones(3, 1), torch.zeros((3, 1), dtype=torch.int8), 1, "2 dimensions"),
    ],
)
def test_shape_rule_refuses(scale: Any, zero: Any, axis: Any, message: str) -> None:
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match=message):
        torch.ops.edgeopt.quantize(torch.ones(2, 3), scale, zero, axis, torch.int8)
