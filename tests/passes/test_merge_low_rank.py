from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.passes.exact.merge_low_rank import MergeLowRank
from edgeopt.plugins.testing import assert_pass
from tests.passes.builders import Call, ops, randomized, reasons


def merge(module: nn.Module, x: torch.Tensor, changes: bool = True) -> Any:
    return assert_pass(MergeLowRank(), randomized(module).double(), (x.double(),), changes=changes, bound=1e-10)


@pytest.mark.parametrize("first_bias", [True, False])
@pytest.mark.parametrize("second_bias", [True, False])
def test_two_factors_that_do_not_pay_apart(first_bias: bool, second_bias: bool) -> None:
    module = nn.Sequential(nn.Linear(6, 5, first_bias), nn.Linear(5, 8, second_bias))
    result = merge(module, torch.randn(2, 3, 6))
    assert ops(result) == ["linear"]
    assert (result.program.node("linear_2").args[2:] != ()) == (first_bias or second_bias)


def test_the_middle_of_three_factors_always_pays() -> None:
    module = nn.Sequential(nn.Linear(16, 3, False), nn.Linear(3, 3, False), nn.Linear(3, 24))
    result = merge(module, torch.randn(2, 16))
    assert ops(result) == ["linear", "linear"]
    assert reasons(result) == ["the factors take 120 multiplications a token, their product 384"]


def test_break_even_is_merged() -> None:
    assert ops(merge(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4)), torch.randn(2, 4))) == ["linear"]


@pytest.mark.parametrize("rank", [1, 2])
def test_pointwise_convolutions(rank: int) -> None:
    conv = {1: nn.Conv1d, 2: nn.Conv2d}[rank]
    result = merge(nn.Sequential(conv(4, 6, 1), conv(6, 5, 1)), torch.randn(2, 4, *(7, 5)[:rank]))
    assert ops(result) == [f"conv{rank}d"]


REFUSALS = {
    "the factors take": nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8)),
    "is not a pointwise convolution": nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3)),
    "has stride [2, 2]": nn.Sequential(nn.Conv2d(8, 8, 1, stride=2), nn.Conv2d(8, 8, 1)),
    "has padding [1, 1]": nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1, padding=1)),
    "has groups 2": nn.Sequential(nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 1)),
    "is also read by": Call(lambda m, x: m.b(y := m.a(x)) + y, a=nn.Linear(8, 8), b=nn.Linear(8, 8)),
    "is shared with": Call(lambda m, x: m.a(m.a(x)), a=nn.Linear(8, 8)),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_refusals(reason: str) -> None:
    x = torch.randn(2, 8, 8, 8)
    assert any(reason in told for told in reasons(merge(REFUSALS[reason], x, changes=False)))


def test_an_activation_between_is_no_match() -> None:
    result = merge(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), torch.randn(2, 4), changes=False)
    assert not result.notes


def test_half_precision_is_refused() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).to(torch.bfloat16)
    result = assert_pass(MergeLowRank(), module, (torch.randn(2, 4).bfloat16(),), changes=False)
    assert "bfloat16" in reasons(result)[0]
