from typing import Any

import pytest
import torch

from edgeopt.quant.pairs import LIMIT, for_paired_weight, largest_sums, magnitude_limits, order_of, to_paired_integers
from edgeopt.quant.qparams import for_weight, to_integers


def test_the_limit_is_what_sixteen_bits_hold() -> None:
    assert 255 * LIMIT <= 32767 < 255 * (LIMIT + 1)
    assert -255 * LIMIT >= -32768


@pytest.mark.parametrize(
    ("shape", "groups", "order"),
    [
        ((64, 7), 1, "channels"),
        ((16, 3, 3, 3), 1, "channels"),
        ((8, 2, 3), 4, "channels"),
        ((8, 1, 3, 3), 8, "none"),
        ((16, 1, 3, 3), 8, "any"),
        ((6, 3, 3, 3), 2, "any"),
    ],
)
def test_no_pair_leaves_the_limit_however_weights_are_rounded(shape: Any, groups: Any, order: Any) -> None:
    assert order_of(shape, groups) == order
    weight = torch.randn(shape) * torch.logspace(-2, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
    weight[0], weight[1] = 0.0, 1.0
    affine = for_paired_weight(weight, order)
    real = weight / affine.scale.view(-1, *[1] * (weight.dim() - 1))
    limits, integers = magnitude_limits(real, order), to_paired_integers(weight, affine, order)
    away = torch.where(integers.abs() < limits, integers + torch.sign(real), integers.float())
    for rounded in (integers, away, torch.where(torch.rand(shape) < 0.5, integers.float(), away)):
        assert largest_sums(rounded.float(), order).max() <= (127 if order == "none" else LIMIT)
    assert (integers.float() - real).abs().square().mean() < 2


def test_what_meets_no_other_keeps_all_of_its_range() -> None:
    weight = torch.tensor([[1.0, -1.0, 0.5, 0.0, -1.0]])
    assert to_paired_integers(weight, for_paired_weight(weight, "channels"), "channels").tolist() == [
        [127, -127, 64, 0, -127]
    ]
    depthwise = torch.randn(8, 1, 3, 3)
    full = for_weight(depthwise)
    assert torch.equal(for_paired_weight(depthwise, "none").scale, full.scale)
    assert torch.equal(to_paired_integers(depthwise, full, "none"), to_integers(depthwise, full))


def test_a_pair_that_is_too_large_is_cut_where_that_costs_less() -> None:
    weight = torch.linspace(-0.0125, 0.0125, 4096).repeat_interleave(2).view(1, -1)
    weight[0, :2] = 0.02
    affine = for_paired_weight(weight, "channels")
    assert for_weight(weight).scale < affine.scale < largest_sums(weight, "channels") / LIMIT
    assert to_paired_integers(weight, affine, "channels")[0, :2].tolist() == [64, 64]
