"""Normalizers by name, each as its authors write it, within a block; and what looks like one and is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.analysis.normalization import find_normalizers
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.passes.exact.remove_noops import RemoveNoops
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import to_program
from tests.models.normalizers import NORMALIZERS, PRepBN
from tests.passes.builders import Call, randomized

C = 8


def told(function: Any, x: torch.Tensor | None = None, **parts: nn.Module | torch.Tensor) -> list[tuple[str, str]]:
    x = torch.randn(2, 5, C) if x is None else x
    program = to_program(randomized(Call(function, **parts)), (x,))
    program = Pipeline([FoldConstants(), RemoveNoops()])(program).program
    return [(found.form, found.detail) for found in find_normalizers(program)]


FORMS = {
    "layer": ("LayerNorm", ""),
    "rms": ("RMSNorm", ""),
    "written rms": ("RMSNorm", "written out"),
    "scaled": ("LayerNorm", "times 0.5774"),
    "RepBN": ("RepBN", ""),
    "UN": ("UN", ""),
    "DyT": ("DyT", ""),
    "BHyT": ("BHyT", ""),
}


@pytest.mark.parametrize("name", FORMS)
def test_pre_norm_branch_with_layer_scale(name: str) -> None:
    def branch(m: Call, x: torch.Tensor) -> torch.Tensor:
        x = m.stem(x)
        return x + m.down(m.up(m.norm(x)).relu()) * m.gamma

    linears: dict[str, Any] = {"stem": nn.Linear(C, C), "up": nn.Linear(C, 12), "down": nn.Linear(12, C)}
    found = told(branch, norm=NORMALIZERS[name](C), gamma=torch.rand(C), **linears)
    assert found == [FORMS[name], ("LayerScale", "")]


@pytest.mark.parametrize("blend", [0.0, 0.25, 1.0])
def test_progressive_norm(blend: float) -> None:
    found = told(lambda m, x: m.linear(m.norm(m.linear(x))), norm=PRepBN(C, blend), linear=nn.Linear(C, C))
    assert found == [
        {0.0: ("PRepBN", "lambda 0 on its LayerNorm")}.get(blend, ("PRepBN", f"lambda {blend:g} on its LayerNorm"))
    ]


def test_batch_norm_alone() -> None:
    assert told(lambda m, x: m.norm(x), torch.randn(2, C, 4), norm=nn.BatchNorm1d(C)) == [("BatchNorm", "")]


def test_spread_of_another_norm() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        spread = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 0.1)
        y = m.linear(torch.tanh(0.2 * (x * spread)) * m.gamma)
        return m.linear(torch.tanh(0.2 * (y * spread)) * m.gamma)

    assert told(function, linear=nn.Linear(C, C), gamma=torch.rand(C)) == [
        ("BHyT", ""),
        ("BHyT", "by the spread of another norm"),
    ]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: torch.nn.functional.gelu(m.linear(x), approximate="tanh"),
        lambda m, x: torch.tanh(0.5 * m.linear(x)),
        lambda m, x: m.linear((x - m.gamma) / 3),  # scaling of the input
        lambda m, x: m.linear(x) * 2 + x,
        lambda m, x: m.linear(x) * m.gamma,  # an output
    ],
)
def test_what_is_none(function: Any) -> None:
    assert told(function, linear=nn.Linear(C, C), gamma=torch.rand(C)) == []
