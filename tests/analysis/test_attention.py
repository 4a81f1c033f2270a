"""Attention as people write it by hand: each way of scaling, masking and sharing heads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from edgeopt.analysis.attention import Attention, find_attentions
from edgeopt.plugins.testing import to_program

B, H, N, D = 2, 4, 6, 8
CAUSAL = torch.ones(N, N).tril().bool()
Attend = Callable[..., torch.Tensor]


class Heads(nn.Module):
    """Projections around an attention: ``attend(q, k, v, *inputs)`` on [B, heads, N, D]."""

    def __init__(self, attend: Attend, kv_heads: int = H, **buffers: torch.Tensor) -> None:
        super().__init__()
        self.attend = attend
        self.q, self.out = nn.Linear(H * D, H * D), nn.Linear(H * D, H * D)
        self.k, self.v = nn.Linear(H * D, kv_heads * D), nn.Linear(H * D, kv_heads * D)
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, D)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        out = self.attend(q, k, v, *inputs, **dict(self.named_buffers()))
        return self.out(out.transpose(1, 2).flatten(2))


def found(module: nn.Module, *inputs: torch.Tensor) -> Attention:
    attentions = find_attentions(to_program(module, (torch.randn(B, N, H * D), *inputs)))
    assert len(attentions) == 1
    return attentions[0]


def plain(q: Any, k: Any, v: Any) -> Any:
    return (q @ k.transpose(-2, -1) / math.sqrt(D)).softmax(-1) @ v


def scaled_query(q: Any, k: Any, v: Any) -> Any:
    return ((q * D**-0.5) @ k.mT).softmax(-1) @ v


def einsum(q: Any, k: Any, v: Any) -> Any:
    weights = (torch.einsum("bhid,bhjd->bhij", q, k) * D**-0.5).softmax(-1)
    return torch.einsum("bhij,bhjd->bhid", weights, v)


def einsum_of_tokens_first(q: Any, k: Any, v: Any) -> Any:
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    weights = (torch.einsum("bthd,bshd->bhts", q, k) / D**0.5).softmax(-1)
    return torch.einsum("bhts,bshd->bthd", weights, v).transpose(1, 2)


def batched(q: Any, k: Any, v: Any) -> Any:
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))
    return torch.bmm(torch.softmax(torch.bmm(q * D**-0.5, k.transpose(1, 2)), -1), v).unflatten(0, (B, H))


def fused(q: Any, k: Any, v: Any) -> Any:
    return scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("attend", [plain, scaled_query, einsum, einsum_of_tokens_first, batched, fused])
def test_ways_to_write_it(attend: Attend) -> None:
    a = found(Heads(attend))
    assert (a.tokens, a.keys, a.head_size, str(a.mask), a.windows) == (N, N, D, "none", 1)
    assert (a.heads, a.kv_heads) == (H, H)
    assert a.scale == pytest.approx(D**-0.5)
    assert a.is_fused == (attend is fused)


def filled(q: Any, k: Any, v: Any, allowed: Any) -> Any:
    return (q @ k.mT).masked_fill(~allowed, float("-inf")).softmax(-1) @ v


def chosen(q: Any, k: Any, v: Any, allowed: Any) -> Any:
    scores = q @ k.mT
    return torch.where(allowed, scores, torch.finfo(scores.dtype).min).softmax(-1) @ v


def fused_mask(q: Any, k: Any, v: Any, allowed: Any) -> Any:
    return scaled_dot_product_attention(q, k, v, allowed)


def band(width: int) -> torch.Tensor:
    return CAUSAL & torch.ones(N, N).triu(1 - width).bool()


@pytest.mark.parametrize("attend", [filled, chosen, fused_mask])
@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (CAUSAL, "causal"),
        (band(3), "causal, window 3"),
        (torch.ones(N, N).bool(), "none"),
        (torch.ones(N, N).bool().index_fill(1, torch.tensor([2]), False), "fixed"),
    ],
)
def test_constant_masks(attend: Attend, allowed: torch.Tensor, expected: str) -> None:
    assert str(found(Heads(attend, allowed=allowed)).mask) == expected


def test_causal_flag() -> None:
    attend = lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
    assert str(found(Heads(attend)).mask) == "causal"


def test_padding_and_causal_made_in_the_graph() -> None:
    def attend(q: Any, k: Any, v: Any, keep: Any) -> Any:
        causal = torch.arange(N)[:, None] >= torch.arange(N)
        bias = (1 - keep[:, None, None, :].float()) * -1e9
        return (q @ k.mT + bias).masked_fill(~causal, -1e9).softmax(-1) @ v

    assert str(found(Heads(attend), torch.ones(B, N, dtype=torch.long)).mask) == "causal, padding"


def test_padding_said_the_other_way_round() -> None:
    attend = lambda q, k, v, pad: (q @ k.mT).masked_fill(pad[:, None, None], -1e9).softmax(-1) @ v  # noqa: E731
    assert str(found(Heads(attend), torch.zeros(B, N, dtype=torch.bool)).mask) == "padding"


def test_alibi_is_a_bias_and_blocks_nothing() -> None:
    distance = torch.arange(N)[:, None] - torch.arange(N)
    alibi = -(2.0 ** -torch.arange(1, H + 1))[:, None, None] * distance.abs() * 40
    attend = lambda q, k, v, alibi: (q @ k.mT + alibi).softmax(-1) @ v  # noqa: E731
    assert str(found(Heads(attend, alibi=alibi)).mask) == "bias"


def test_bias_of_activations() -> None:
    attend = lambda q, k, v: (q @ k.mT + q.sum(-1, keepdim=True)).softmax(-1) @ v  # noqa: E731
    assert str(found(Heads(attend)).mask) == "computed bias"


def test_grouped_queries() -> None:
    def attend(q: Any, k: Any, v: Any) -> Any:
        k, v = (t.repeat_interleave(2, 1) for t in (k, v))
        return scaled_dot_product_attention(q, k, v)

    a = found(Heads(attend, kv_heads=2))
    assert (a.heads, a.kv_heads) == (4, 2)


def test_grouped_queries_of_the_fused_operator() -> None:
    attend = lambda q, k, v: scaled_dot_product_attention(q, k, v, enable_gqa=True)  # noqa: E731
    a = found(Heads(attend, kv_heads=2))
    assert (a.heads, a.kv_heads) == (4, 2)


def test_module_of_torch_with_padding() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4)

        def forward(self, x: torch.Tensor, pad: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, key_padding_mask=pad)[0]

    program = to_program(Model(), (torch.randn(5, 2, 16), torch.zeros(2, 5, dtype=torch.bool)))
    (a,) = find_attentions(program)
    assert (a.heads, a.tokens, a.head_size, str(a.mask)) == (4, 5, 4, "padding")


def test_learned_query() -> None:
    attend = lambda q, k, v, latent: ((latent @ k.mT).softmax(-1) @ v).expand(-1, -1, N, -1)  # noqa: E731
    a = found(Heads(attend, latent=torch.randn(1, H, 1, D)))
    assert (a.heads, a.tokens, a.keys) == (H, 1, N)


def test_scores_against_a_constant_are_a_gate() -> None:
    attend = lambda q, k, v, keys: (q @ keys).softmax(-1) @ v  # noqa: E731
    program = to_program(Heads(attend, keys=torch.randn(1, H, D, N)), (torch.randn(B, N, H * D),))
    assert find_attentions(program) == ()


def test_what_is_no_attention() -> None:
    class Gate(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.softmax(-1) @ x.mT  # no product under the softmax

    assert find_attentions(to_program(Gate(), (torch.randn(2, 3, 3),))) == ()


def test_dynamic_number_of_tokens() -> None:
    tokens = torch.export.Dim("tokens", min=2, max=64)
    program = to_program(Heads(plain), (torch.randn(B, N, H * D),), ({1: tokens},))
    (a,) = find_attentions(program)
    assert a.heads == H and isinstance(a.tokens, str)
