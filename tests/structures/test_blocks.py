"""Where the norm stands: on the branch, on the sum, or nowhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeopt.structures.blocks import find_blocks
from edgeopt.testing import to_program
from tests.passes.builders import Call

C = 16


def forms(function) -> list[str]:
    parts = {"attention": nn.MultiheadAttention(C, 4, batch_first=True), "norm": nn.LayerNorm(C), "rms": nn.RMSNorm(C)}
    module = Call(function, **parts, scale=torch.rand(C))
    return [block.form for block in find_blocks(to_program(module, (torch.randn(2, 5, C),)))]


def attend(m: Call, x: torch.Tensor) -> torch.Tensor:
    return m.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize(
    ("function", "form"),
    [
        (lambda m, x: x + attend(m, m.norm(x)), "pre-LN"),
        (lambda m, x: attend(m, m.rms(x)) + x, "pre-RMS"),
        (lambda m, x: x + m.scale * attend(m, m.norm(x)), "pre-LN"),
        (lambda m, x: m.norm(x + attend(m, x)), "post-LN"),
        (lambda m, x: m.rms(x + attend(m, x)), "post-RMS"),
        (lambda m, x: x + attend(m, x), "no norm"),
        (lambda m, x: attend(m, m.norm(x)), "no norm"),
    ],
)
def test_forms(function, form: str) -> None:
    assert forms(function) == [form]


@pytest.mark.parametrize(("first", "form"), [(True, "pre-LN"), (False, "post-LN")])
def test_encoder_layer_of_torch(first: bool, form: str) -> None:
    layer = nn.TransformerEncoderLayer(C, 4, 32, batch_first=True, norm_first=first)
    blocks = find_blocks(to_program(nn.Sequential(layer, layer), (torch.randn(2, 5, C),)))
    assert [block.form for block in blocks] == [form, form]
