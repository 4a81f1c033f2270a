"""The kernel of hybrid attention in OpenVINO against the operator's torch reference, at every instruction set."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from edgeopt.ops.feature_maps import MAPS
from edgeopt.ops.hybrid_attention import hybrid_attention

from . import openvino_kernels as openvino
from .test_openvino_linear_attention import assert_close, parameters

pytestmark = openvino.requires_compiler


class Attention(nn.Module):
    """Heads that lie side by side, hybrid attention of them, and heads side by side again."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window, self.gate = window, nn.Parameter(torch.randn(3, 1, 1))

    def forward(self, *qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.unflatten(-1, (3, -1)).transpose(1, 2) for x in qkv)
        return hybrid_attention(q, k, v, self.gate, "elu", self.window, 0.25).transpose(1, 2).flatten(2) * 2


def check(kind: str, causal: bool, tokens: int, window: int, rng: random.Random, patch: pytest.MonkeyPatch) -> None:
    batch, heads, size, values = rng.choice([1, 2]), rng.choice([1, 3]), rng.randint(1, 40), rng.randint(1, 90)
    tensors = {name: torch.randn(batch, heads, tokens, size) for name in ("query", "key")}
    tensors |= {"value": torch.randn(batch, heads, tokens, values), "gate": torch.randn(heads, 1, 1)}
    tensors |= parameters(kind, heads, size, rng)
    attributes = {"feature_map": kind, "window": window, "scale": size**-0.5, "causal": int(causal)}
    expected = hybrid_attention(**tensors, **attributes)
    attributes |= {"roles": ",".join(tensors), "tokens_first": ""}
    run = openvino.operator("HybridAttention", attributes, list(tensors.values()))
    for _ in openvino.levels(patch):
        assert_close(run(), expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", sorted(MAPS))
def test_kernel_equals_the_reference(kind: str, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(f"{kind}{causal}")
    # One block, two, several with a short last one, and windows beside the length of a vector.
    for tokens, window in ((5, 8), (40, 32), (130, 16), (150, 33), (200, 24)):
        check(kind, causal, tokens, window, rng, monkeypatch)


def test_transposes_become_strides_and_threads_change_nothing() -> None:
    inputs, called = [torch.randn(2, 300, 48) for _ in "qkv"], Attention(32)
    run, types = openvino.module(called, inputs)
    assert "HybridAttention" in types and "Transpose" not in types
    assert_close(run(), called(*inputs))
    assert torch.equal(run(), openvino.module(called, inputs, threads=2)[0]())
