"""Where the norm stands: on the branch, on the sum, or nowhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.analysis.blocks import find_blocks
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.plugins.testing import to_program
from tests.models.normalizers import NORMALIZERS
from tests.passes.builders import Call, randomized

C = 16


def parts() -> dict[str, nn.Module]:
    attention = nn.MultiheadAttention(C, 4, batch_first=True)
    return {"attention": attention, "norm": nn.LayerNorm(C), "rms": nn.RMSNorm(C)}


def forms(function: Any) -> list[str]:
    module = Call(function, **parts(), scale=torch.rand(C))
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
def test_forms(function: Any, form: str) -> None:
    assert forms(function) == [form]


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize("name", ["scaled", "RepBN", "UN", "DyT", "BHyT"])
def test_other_normalizers(name: str, placement: str) -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        x = x.sigmoid()  # numbers on the model's input would be a scaling of it
        return x + attend(m, m.norm(x)) if placement == "pre" else m.norm(x + attend(m, x))

    module = randomized(Call(function, norm=NORMALIZERS[name](C), attention=parts()["attention"]))
    program = FoldConstants()(to_program(module, (torch.randn(2, 5, C),))).program
    (block,) = find_blocks(program)
    assert block.form == f"{placement}-{'LN' if name == 'scaled' else name}"


@pytest.mark.parametrize(("first", "form"), [(True, "pre-LN"), (False, "post-LN")])
def test_encoder_layer_of_torch(first: bool, form: str) -> None:
    layer = nn.TransformerEncoderLayer(C, 4, 32, batch_first=True, norm_first=first)
    blocks = find_blocks(to_program(nn.Sequential(layer, layer), (torch.randn(2, 5, C),)))
    assert [block.form for block in blocks] == [form, form]
