"""What attention adds or mixes in by position alone is a constant after fold-constants, at a fixed length."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgeopt.analysis.attention import find_attentions
from edgeopt.ir.rewrite import arguments
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.plugins.testing import assert_pass
from tests.models import transformers_tiny as tiny
from tests.passes.builders import Call, ops, reasons
from tests.typed import some

H, N, D = 2, 6, 4


def attend(m: Call, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    q, k, v = m.project(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4).unbind(0)
    y: torch.Tensor = (q @ k.mT + bias).softmax(-1) @ v
    return y


def alibi(m: Call, x: torch.Tensor) -> torch.Tensor:
    """Press et al., Train Short, Test Long, ICLR 2022."""
    slopes = 2.0 ** (-8 * (torch.arange(H) + 1) / H)
    position = torch.arange(x.shape[1])
    return attend(m, x, -slopes[:, None, None] * (position[:, None] - position).abs())


def relative_bias(m: Call, x: torch.Tensor) -> torch.Tensor:
    """Liu et al., Swin Transformer, ICCV 2021: a table indexed by the offset of query and key."""
    position = torch.arange(x.shape[1])
    offset = position[:, None] - position + N - 1
    return attend(m, x, m.table[offset].permute(2, 0, 1))


def buckets(m: Call, x: torch.Tensor) -> torch.Tensor:
    """Raffel et al., T5, JMLR 2020: a table indexed by the offset, whose size is on a logarithmic scale from 4 on."""
    position = torch.arange(x.shape[1])
    offset = position - position[:, None]
    far = 4 + (torch.log(offset.abs().float() / 4 + 1e-6) / math.log(8 / 4) * 4).long()
    index = (offset > 0).long() * 8 + torch.where(offset.abs() < 4, offset.abs(), far.clamp(max=7))
    return attend(m, x, m.table[index].permute(2, 0, 1).unsqueeze(0))


def causal_alibi(m: Call, x: torch.Tensor) -> torch.Tensor:
    """ALiBi as decoders write it: the causal mask and the slopes in one bias of the fused attention."""
    q, k, v = m.project(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4).unbind(0)
    position = torch.arange(x.shape[1])
    slopes = 2.0 ** (-8 * (torch.arange(H) + 1) / H)
    bias = slopes[:, None, None] * (position - position[:, None])
    bias = bias.masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool(), -torch.inf)
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])


def positional_softmax(m: Call, x: torch.Tensor) -> torch.Tensor:
    """d'Ascoli et al., ConViT, ICML 2021: a softmax of positions, mixed with that of the contents by a gate."""
    q, k, v = m.project(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4).unbind(0)
    position = torch.arange(x.shape[1]).float()
    offset = position[:, None] - position
    features = torch.stack([offset, offset**2, offset.abs()], -1)
    gate = m.gate.sigmoid()[:, None, None]
    mixed = (1 - gate) * (q @ k.mT).softmax(-1) + gate * m.position(features).permute(2, 0, 1).softmax(-1)
    y: torch.Tensor = mixed / mixed.sum(-1, keepdim=True) @ v
    return y


def model(function: Callable[..., torch.Tensor]) -> Call:
    parts = {"project": nn.Linear(8, 3 * H * D), "position": nn.Linear(3, H)}
    return Call(function, **parts, table=torch.randn(16, H), gate=torch.randn(H))


@pytest.mark.parametrize("function", [alibi, relative_bias, buckets])
def test_bias_is_a_constant(function: Callable[..., torch.Tensor]) -> None:
    result = assert_pass(FoldConstants(), model(function), (torch.randn(2, N, 8),), changes=True, bound=0.0)
    (total,) = (node for node in result.program.calls if node.target is torch.ops.aten.add.Tensor)
    assert some(result.program.constant(total.args[1])).shape[-3:] == (H, N, N)
    assert not {"arange", "index.Tensor", "sub.Tensor", "pow.Scalar", "log", "where.self"} & set(ops(result))


def test_bias_of_a_fused_attention_is_a_constant() -> None:
    result = assert_pass(FoldConstants(), model(causal_alibi), (torch.randn(2, N, 8),), changes=True, bound=0.0)
    (attention,) = (n for n in result.program.calls if "scaled_dot" in str(n.target))
    assert some(result.program.constant(attention.args[3])).shape == (1, H, N, N)
    assert not {"arange", "masked_fill.Scalar", "triu"} & set(ops(result))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin", "swin_padded"])
def test_bias_and_shift_mask_of_swin_are_constants(name: str) -> None:
    program = tiny.program(name)
    result = assert_pass(FoldConstants(), program, tiny.inputs(name, program), changes=True, bound=0.0)
    attentions = find_attentions(result.program)
    masks = [arguments(attention.root)["attn_mask"] for attention in attentions]
    assert len(masks) == 4 and all(result.program.constant(mask) is not None for mask in masks)


def test_softmax_of_positions_is_a_constant() -> None:
    result = assert_pass(FoldConstants(), model(positional_softmax), (torch.randn(2, N, 8),), changes=True, bound=0.0)
    assert ops(result).count("softmax.int") == 1 and ops(result).count("linear") == 1


def test_softmax_of_positions_that_would_take_megabytes_is_refused() -> None:
    result = assert_pass(FoldConstants(), model(alibi), (torch.randn(1, 512, 8),), changes=True, bound=0.0)
    assert any("the program would grow by" in reason for reason in reasons(result))


def test_what_is_small_beside_the_model_is_a_constant() -> None:
    """The bias of 512 tokens and two heads takes 2 MiB: a fiftieth of 100, which no tensor here is filled with."""
    module = model(lambda m, x: alibi(m, x) + m.weights[0, 0])
    module.register_buffer("weights", torch.zeros(1).expand(2**13, 2**12))
    result = assert_pass(FoldConstants(), module, (torch.randn(1, 512, 8),), changes=True, bound=0.0)
    assert "arange" not in ops(result) and not any("would grow" in reason for reason in reasons(result))
