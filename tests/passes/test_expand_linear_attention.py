from __future__ import annotations

import pytest
import torch

from edgeopt.ops.linear_attention import KINDS, linear_attention
from edgeopt.passes.exact.expand_linear_attention import ExpandLinearAttention
from edgeopt.plugins.testing import assert_pass, to_program
from tests.ops.test_linear_attention import parameters, qkv
from tests.passes.builders import Call, ops, reasons

QKV = [torch.randn(2, 3, 9, 8) for _ in range(3)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_body_takes_the_operators_place(kind: str, causal: bool) -> None:
    learned = parameters(kind, torch.float32)
    module = Call(lambda self, q, k, v: linear_attention(q, k, v, kind, causal, *learned))
    result = assert_pass(ExpandLinearAttention(), module, qkv(dtype=torch.float32), changes=True)
    assert "linear_attention" not in ops(result.program)


def test_the_depthwise_branch_comes_along() -> None:
    weight, bias = torch.randn(8, 1, 3, 3), torch.randn(8)
    module = Call(
        lambda self, q, k, v: linear_attention(
            q, k, v, "relu", depthwise=self.weight, depthwise_bias=self.bias, grid=(2, 4)
        ),
        weight=weight, bias=bias,
    )  # fmt: skip
    result = assert_pass(ExpandLinearAttention(), module, QKV, changes=True)
    assert "conv2d" in ops(result.program)


def test_an_unknown_number_of_tokens_is_refused() -> None:
    module = Call(lambda self, q, k, v: linear_attention(q, k, v, "relu"))
    tokens = torch.export.Dim("tokens", min=2, max=64)
    result = ExpandLinearAttention()(to_program(module, QKV, (({2: tokens},) * 3,)))
    assert not result.changed
    assert any("known only at run time" in text for text in reasons(result))
