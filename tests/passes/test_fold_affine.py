from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.ir.pass_base import PassResult
from edgeopt.passes.exact.fold_affine import FoldAffine
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import Call, ops, randomized, reasons

F = nn.functional
TOKENS = torch.randn(2, 6, 8)
IMAGE = torch.randn(2, 8, 6, 6)


def fold(
    function: Callable[..., Any], x: torch.Tensor, changes: bool | None = True, **parts: nn.Module | torch.Tensor
) -> PassResult:
    module = randomized(Call(function, **parts)).double()
    return assert_pass(FoldAffine(), module, (x.double(),), changes=changes, bound=1e-10)


def is_bare(result: PassResult) -> bool:
    """Whether no norm has a scale or shift left."""
    norms = [line for line in result.program.text().splitlines() if "_norm(" in line]
    return bool(norms) and not any("weight" in line or "bias" in line for line in norms)


def test_norm_into_query_key_value() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        y = m.norm(x)
        return m.q(y) * m.k(y) + m.v(y)

    parts: dict[str, Any] = {name: nn.Linear(8, 8, bias=name != "k") for name in "qkv"}
    result = fold(function, TOKENS, norm=nn.LayerNorm(8), **parts)
    assert ops(result) == ["layer_norm", "linear", "linear", "mul.Tensor", "linear", "add.Tensor"] and is_bare(result)


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.LayerNorm(8, bias=False), nn.RMSNorm(8)])
def test_norm_into_linear(norm: nn.Module) -> None:
    result = fold(lambda m, x: m.linear(m.norm(x)), TOKENS, norm=norm, linear=nn.Linear(8, 5, bias=False))
    assert ops(result)[1:] == ["linear"] and is_bare(result)


def test_text() -> None:
    module = randomized(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5)))
    result = assert_pass(FoldAffine(), module, (TOKENS,), changes=True)
    assert result.program.text() == (
        "constant _1_weight_1:5x8:float32\n"
        "constant _1_bias_1:5:float32\n"
        "input input:2x6x8:float32\n"
        "layer_norm_1 = aten.layer_norm(%input, [8], None, None, 1e-05, False)\n"
        "linear_1 = aten.linear(%layer_norm_1, %_1_weight_1, %_1_bias_1)\n"
        "return [%linear_1]\n"
    )


def test_group_norm_into_pointwise_convolution() -> None:
    result = fold(lambda m, x: m.conv(m.norm(x)), IMAGE, norm=nn.GroupNorm(2, 8), conv=nn.Conv2d(8, 4, 1, groups=2))
    assert ops(result) == ["group_norm", "conv2d"] and is_bare(result)


MOVES: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda x: x.reshape(12, 8),
    lambda x: x.permute(1, 0, 2),
    lambda x: x.unsqueeze(1).squeeze(1),
    lambda x: x.roll(2, 1).flip(1),
    lambda x: x[:, 1:, :],
    lambda x: x[:, 0],
    lambda x: x.index_select(1, torch.tensor([3, 1])),
    lambda x: x.mean(1),
    lambda x: x.mean(1, keepdim=True),
    lambda x: x.unsqueeze(1).expand(2, 3, 6, 8),
    lambda x: F.pad(x, (0, 0, 1, 2), mode="replicate"),
    lambda x: x.reshape(2, 2, 3, 8).transpose(1, 2).reshape(2, 6, 8),
    lambda x: F.adaptive_avg_pool1d(x.transpose(1, 2), 1).transpose(1, 2),
]


def test_norm_through_movements() -> None:
    def function(m: Call, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(linear(move(m.norms[i](x))) for i, (move, linear) in enumerate(zip(MOVES, m.linears, strict=True)))

    norms = nn.ModuleList(nn.LayerNorm(8) for _ in MOVES)
    linears = nn.ModuleList(nn.Linear(8, 3) for _ in MOVES)
    result = fold(function, TOKENS, norms=norms, linears=linears)
    assert is_bare(result) and reasons(result) == []


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 4, 3, padding=1, groups=2), nn.ConvTranspose2d(8, 4, 3, groups=4)])
def test_arithmetic_after_convolution(layer: nn.Module) -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        return ((0.5 * m.layer(x) - m.shift[:, None, None]) / m.scale[None, :, None, None] + 2) * m.scale[0]

    constants = {"scale": torch.rand(4) + 0.5, "shift": torch.randn(4)}
    result = folded_after_constants(function, IMAGE, layer=layer, **constants)
    assert len(ops(result)) == 1


def folded_after_constants(
    function: Callable[..., Any], x: torch.Tensor, **parts: nn.Module | torch.Tensor
) -> PassResult:
    program = to_program(randomized(Call(function, **parts)).double(), (x.double(),))
    return assert_pass(FoldAffine(), FoldConstants()(program).program, (x.double(),), changes=True, bound=1e-10)


def test_layer_scale() -> None:
    result = fold(lambda m, x: x + m.linear(x) * m.gamma, TOKENS, linear=nn.Linear(8, 8), gamma=torch.randn(8))
    assert ops(result) == ["linear", "add.Tensor"]


def test_constant_minus_layer() -> None:
    result = fold(lambda m, x: torch.sub(m.c, m.linear(x), alpha=2), TOKENS, linear=nn.Linear(8, 8), c=torch.randn(8))
    assert ops(result) == ["linear"]


def test_input_scaling() -> None:
    result = fold(lambda m, x: m.conv(x / 255), IMAGE, conv=nn.Conv2d(8, 4, 3, padding=1))
    assert ops(result) == ["conv2d"]


def test_input_scale_and_shift_per_channel() -> None:
    parts: dict[str, Any] = {"mean": torch.randn(8, 1, 1), "std": torch.rand(1, 8, 1, 1) + 0.5}
    result = fold(lambda m, x: m.conv((x - m.mean) / m.std), IMAGE, conv=nn.Conv2d(8, 4, 3), **parts)
    assert ops(result) == ["conv2d"]


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.LayerNorm(8, elementwise_affine=False), nn.RMSNorm(8)])
def test_factor_into_norm_that_no_layer_reads(norm: nn.Module) -> None:
    result = fold(lambda m, x: m.norm(x) * 0.5 / m.gamma, TOKENS, norm=norm, gamma=torch.rand(8))
    assert len(ops(result)) == 1


def test_shift_into_norm() -> None:
    result = fold(lambda m, x: (m.norm(x) - m.gamma).relu(), TOKENS, norm=nn.LayerNorm(8), gamma=torch.rand(8))
    assert ops(result) == ["layer_norm", "relu"]
    result = fold(lambda m, x: m.norm(x) + 1, TOKENS, False, norm=nn.RMSNorm(8))
    assert "rms_norm (aten.rms_norm) has no shift" in reasons(result)


def test_attention_scaling() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).reshape(2, 6, 2, 4).transpose(1, 2) for layer in (m.q, m.k, m.v))
        scores = (q * 0.5) @ k.transpose(2, 3) / 3
        return scores.softmax(-1) @ v

    result = fold(function, TOKENS, q=nn.Linear(8, 8), k=nn.Linear(8, 8), v=nn.Linear(8, 8))
    assert "mul.Tensor" not in ops(result) and "div.Tensor" not in ops(result)


def test_dynamic_length() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        y = m.norm(x).reshape(-1, 8)
        return (m.linear(y) * 0.5).reshape(x.shape[0], x.shape[1], 4)

    module = randomized(Call(function, norm=nn.LayerNorm(8), linear=nn.Linear(8, 4)))
    dynamic = (({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},),)
    program = to_program(module, (TOKENS,), dynamic)
    result = assert_pass(FoldAffine(), program, (torch.randn(3, 5, 8),), changes=True)
    assert "mul.Tensor" not in ops(result) and is_bare(result)


def tied_head(m: Call, x: torch.Tensor) -> torch.Tensor:
    tokens = F.embedding(x[:, :, 0].abs().long(), m.linear.weight)
    return m.linear(m.norm(tokens))


NORM_REFUSALS: list[tuple[Callable[..., torch.Tensor], str]] = [
    (lambda m, x: m.linear(m.norm(x)) + m.norm(x), "add (aten.add.Tensor) is neither a linear nor a convolution"),
    (lambda m, x: m.linear(y := m.norm(x)) + y, "add (aten.add.Tensor) is neither a linear nor a convolution"),
    (lambda m, x: m.norm(x), "layer_norm (aten.layer_norm) is an output of the model"),
    (lambda m, x: m.linear(m.norm(x).relu()), "relu (aten.relu) is neither a linear nor a convolution"),
    (lambda m, x: m.linear(F.pad(m.norm(x), (0, 0, 1, 1))), "pad (aten.pad) pads with 0, which"),
    (lambda m, x: m.linear(m.norm(x).roll(1, 2)), "roll (aten.roll) breaks up the channel axis"),
    (lambda m, x: m.square(m.norm(x).transpose(1, 2)), "axis 2, those of layer_norm 1"),
    (lambda m, x: m.conv(m.norm(x).transpose(1, 2)), "pads with zeros, and the shift of layer_norm is not zero"),
    (lambda m, x: F.linear(x, m.norm(x[0])), "computed at run time"),
    (lambda m, x: m.linear(F.layer_norm(x, (8,), x[0, 0])), "its weight are computed at run time"),
    (lambda m, x: m.linear(m.wide(x)), "its scale and shift vary along 2 axes"),
    (tied_head, "the weight linear_weight of linear (aten.linear) is shared with embedding"),
]


@pytest.mark.parametrize(("function", "reason"), NORM_REFUSALS)
def test_norm_refusals(function: Callable[..., torch.Tensor], reason: str) -> None:
    parts = {
        "norm": nn.LayerNorm(8),
        "wide": nn.LayerNorm((6, 8)),
        "linear": nn.Linear(8, 8),
        "square": nn.Linear(6, 6),
        "conv": nn.Conv1d(8, 4, 3, padding=1),
    }
    result = assert_pass(FoldAffine(), randomized(Call(function, **parts)), (TOKENS,))
    assert any(reason in found for found in reasons(result)), reasons(result)


ARITHMETIC_REFUSALS: list[tuple[Callable[..., torch.Tensor], str]] = [
    (lambda m, x: m.linear(x) * m.table, "its constant table:6x8:float32 varies along 2 axes"),
    (lambda m, x: (y := m.linear(x)) * 2 + y.exp(), "linear (aten.linear) is also read by exp"),
    (lambda m, x: torch.div(m.gamma, m.linear(x)), "it divides by what is computed"),
    (lambda m, x: m.linear(x) / 0, "its constant is not finite, or zero and divided by"),
    (lambda m, x: m.linear(x) * m.outer, "it also turns"),
    (lambda m, x: m.conv((x + 1).transpose(1, 2)), "pads with zeros, and the shift of add is not zero"),
    (lambda m, x: m.linear(x).transpose(1, 2) * m.six, "those of mul 2"),
]


@pytest.mark.parametrize(("function", "reason"), ARITHMETIC_REFUSALS)
def test_arithmetic_refusals(function: Callable[..., torch.Tensor], reason: str) -> None:
    parts: dict[str, Any] = {"linear": nn.Linear(8, 8), "conv": nn.Conv1d(8, 4, 3, padding=1), "gamma": torch.rand(8)}
    constants: dict[str, Any] = {"table": torch.randn(6, 8), "outer": torch.randn(3, 1, 1, 8), "six": torch.rand(6)}
    program = to_program(randomized(Call(function, **constants, **parts)), (TOKENS,))
    result = FoldAffine()(program)
    assert any(reason in found for found in reasons(result)), (reasons(result), program.text())


def test_arithmetic_far_from_layers_is_no_candidate() -> None:
    result = fold(lambda m, x: (x.exp() * 0.5 + 1).tanh(), TOKENS, changes=False)
    assert result.notes == ()


def test_factors_that_are_complex_are_left_alone() -> None:
    result = FoldAffine()(to_program(Call(lambda m, x: torch.view_as_complex(x) * 2j), (torch.randn(3, 2),)))
    assert not result.changed
