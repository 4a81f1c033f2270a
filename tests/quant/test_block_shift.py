from typing import Any

import pytest
import torch

from edgeopt.ir.program import Range
from edgeopt.quant.power_of_two import to_powers
from edgeopt.quant.qparams import for_activation, for_weight, to_integers


def test_scales_are_the_next_powers_of_two() -> None:
    weight = torch.tensor([[127.0], [128.0], [0.25 * 127], [0.3 * 127]])
    assert to_powers(for_weight(weight)).scale.tolist() == [1.0, 2.0, 0.25, 0.5]


def test_a_weight_is_off_by_half_a_step_of_its_block() -> None:
    weight = torch.randn(8, 5, 3, 3) * torch.logspace(-3, 2, 8).view(-1, 1, 1, 1)
    affine = to_powers(for_weight(weight))
    step = affine.scale.view(-1, 1, 1, 1)
    assert torch.all((to_integers(weight, affine) * step - weight).abs() <= step / 2)
    assert torch.all(weight.abs().flatten(1).amax(1) > 63 * affine.scale)  # no finer power would do


@pytest.mark.parametrize("ends", [(0.0, 3.0), (-1.0, 6.3), (-5.1, 5.1 * 127 / 128), (-2.0, 0.0)])
def test_the_range_still_fits_around_the_same_zero_point(ends: Any) -> None:
    plain = for_activation(Range(ends[:1], ends[1:]), torch.int8)
    found = to_powers(plain)
    assert found.zero_point == plain.zero_point
    low, high = (float(end / found.scale + found.zero_point) for end in ends)
    assert low >= -128.5 and high <= 127.5
