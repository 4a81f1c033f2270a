"""Norms written out in each way that is common, against what is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.analysis.norms import find_norms
from edgeopt.plugins.testing import to_program
from tests.passes.builders import Call
from tests.typed import some

C, EPS = 8, 1e-5


def program_of(function: Callable[..., torch.Tensor]) -> Any:
    module = Call(function, weight=torch.rand(C), bias=torch.rand(C), norm=nn.LayerNorm(C), rms=nn.RMSNorm(C, EPS))
    return to_program(module, (torch.randn(2, 3, C),))


def layer_by_variance(m: Any, x: Any) -> Any:
    spread = torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + EPS)
    return (x - x.mean(-1, keepdim=True)) / spread * m.weight + m.bias


def layer_by_square(m: Any, x: Any) -> Any:
    centered = x - x.mean(-1, keepdim=True)
    return m.weight * (centered * torch.rsqrt(centered.pow(2).mean(-1, keepdim=True) + EPS)) + m.bias


def layer_by_power(m: Any, x: Any) -> Any:
    centered = x - x.mean(-1, keepdim=True)
    return centered * ((centered * centered).mean(-1, keepdim=True) + EPS).pow(-0.5) * m.weight + m.bias


def rms_by_rsqrt(m: Any, x: Any) -> Any:
    return m.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS))


def rms_by_division(m: Any, x: Any) -> Any:
    return x / ((x * x).mean(-1, keepdim=True) + EPS).sqrt() * m.weight


@pytest.mark.parametrize(
    ("function", "kind", "has_bias"),
    [
        (layer_by_variance, "layer", True),
        (layer_by_square, "layer", True),
        (layer_by_power, "layer", True),
        (rms_by_rsqrt, "rms", False),
        (rms_by_division, "rms", False),
    ],
)
def test_written_out(function: Any, kind: str, has_bias: bool) -> None:
    program = program_of(function)
    (norm,) = find_norms(program)
    assert (norm.kind, norm.eps, norm.channels, norm.is_fused) == (kind, EPS, C, False)
    assert norm.root is program.results[0] and norm.input is program.input_nodes[0]
    assert some(norm.weight).name == "weight" and (norm.bias is not None) == has_bias
    assert norm.interior == set(program.calls)


def test_fused() -> None:
    layer, rms = find_norms(program_of(lambda m, x: m.rms(m.norm(x))))
    assert (layer.kind, rms.kind, rms.eps) == ("layer", "rms", EPS)
    assert layer.is_fused and rms.is_fused


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: (x - x.mean(-2, keepdim=True)) / torch.sqrt(x.var(-2, keepdim=True, unbiased=False) + EPS),
        lambda m, x: (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + EPS),  # unbiased
        lambda m, x: x / x.pow(2).mean(-1, keepdim=True).sqrt(),  # no epsilon
        lambda m, x: x.exp() * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS),  # another value's spread
    ],
)
def test_what_is_no_norm_over_the_last_axis(function: Any) -> None:
    assert find_norms(program_of(function)) == ()


def test_a_weight_that_is_not_per_channel_stays_outside() -> None:
    program = program_of(lambda m, x: rms_by_rsqrt(m, x) * 2)
    (norm,) = find_norms(program)
    assert norm.root is not program.results[0]
