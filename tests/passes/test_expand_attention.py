from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.passes.exact.expand_attention import ExpandAttention
from edgeopt.plugins.testing import assert_pass, to_program

SHAPE = (2, 3, 5, 4)


class Attention(nn.Module):
    def __init__(self, mask: Any = None, **options: Any) -> None:
        super().__init__()
        self.options = options
        if mask is not None:
            self.register_buffer("mask", mask)

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        mask = getattr(self, "mask", mask)
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, **self.options)


class Twice(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        first = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return nn.functional.scaled_dot_product_attention(first, k, v, attn_mask=mask)


def qkv() -> Any:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(SHAPE, generator=generator) for _ in range(3))


def mask() -> Any:
    seen = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(1)) > 0.4
    seen[0, 0, 2] = False
    return seen


@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"is_causal": True}], ids=str)
def test_without_mask(options: Any) -> None:
    result = assert_pass(ExpandAttention(), Attention(**options), qkv(), changes=True)
    assert "aten.scaled_dot_product_attention" not in result.program.text()
    assert "aten.any" not in result.program.text()


def test_a_boolean_mask_gives_zero_for_rows_that_see_nothing() -> None:
    result = assert_pass(ExpandAttention(), Attention(), (*qkv(), mask()), changes=True)
    assert result.program.text().count("aten.any") == 1


def test_a_float_mask_is_added() -> None:
    bias = torch.randn(5, 5, generator=torch.Generator().manual_seed(2))
    assert_pass(ExpandAttention(), Attention(), (*qkv(), bias), changes=True)


def test_constant_masks() -> None:
    seen = mask()
    assert "any" in assert_pass(ExpandAttention(), Attention(seen), qkv(), changes=True).program.text()
    seen[0, 0, 2, 0] = True
    seen[..., 0] = True
    assert "any" not in assert_pass(ExpandAttention(), Attention(seen), qkv(), changes=True).program.text()
    result = assert_pass(ExpandAttention(), Attention(torch.ones(5, 5, dtype=torch.bool)), qkv(), changes=True)
    assert "aten.add" not in result.program.text(), "a mask that hides nothing is dropped"


def test_one_bias_for_all_attentions_under_a_mask() -> None:
    text = assert_pass(ExpandAttention(), Twice(), (*qkv(), mask()), changes=True).program.text()
    assert text.count("aten.softmax") == 2
    assert text.count("aten.logical_not") == 1 and text.count("aten.any") == 1


def test_refusals() -> None:
    def reasons(module: Any, inputs: Any = None, dynamic: Any = None) -> Any:
        program = to_program(module, inputs or qkv(), dynamic)
        return [note.reason for note in ExpandAttention()(program).notes]

    assert reasons(Attention(dropout_p=0.5)) == ["it drops values with probability 0.5"]
    q, k, v = qkv()
    grouped = (q.repeat(1, 2, 1, 1), k, v)
    assert reasons(Attention(enable_gqa=True), grouped) == ["its heads share keys"]
    length = torch.export.Dim("length", min=2, max=64)
    dynamic = {name: {2: length} for name in "qkv"}
    assert reasons(Attention(is_causal=True), dynamic=dynamic) == ["it is causal over a length known only at run time"]


class Cached(nn.Module):
    """One step of attention over keys and values that were kept, each of a length known only at run time."""

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        return nn.functional.scaled_dot_product_attention(q, keys, values), keys, values


def test_that_two_lengths_are_one_changes_no_program() -> None:
    """Products prove it of both: the sizes belong to the given program as well, and it is still the same."""
    steps, kept = [torch.randn(1, 2, 1, 4) for _ in range(3)], [torch.randn(1, 2, 5, 4) for _ in range(2)]
    lengths = [{2: torch.export.Dim(name, min=2, max=64)} for name in ("keys", "values")]
    program = to_program(Cached(), [*steps, *kept], ({}, {}, {}, *lengths))
    before = program.fingerprint()
    result = assert_pass(ExpandAttention(), program, [*steps, *kept], changes=True)
    assert program.fingerprint() == before != result.program.fingerprint()
