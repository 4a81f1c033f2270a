"""Every normalizer whose evaluation form is affine folds away, and the affine part of every other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.ir.pass_base import PassResult
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import assert_pass
from tests.models.normalizers import AFFINE, NORMALIZERS, UN, DyT, PRepBN, RepBN, RepBNInside
from tests.passes.builders import Call, ops, randomized, reasons

C, H = 8, 2
KINDS = [(torch.float32, 1e-5, 0), (torch.float64, 1e-10, 1)]

exact = Pipeline([step.build() for step in EXACT])


def encoder(m: Call, image: torch.Tensor) -> torch.Tensor:
    """A patch embedding with a norm, a block whose norm three layers read, LayerScale, a norm that is pooled."""
    x = m.embedded(m.patch(image).flatten(2).transpose(1, 2))
    y = m.first(x)
    q, k, v = (layer(y).unflatten(-1, (H, -1)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    attended = nn.functional.scaled_dot_product_attention(q, k, v)
    x = x + m.out(attended.transpose(1, 2).flatten(2)) * m.gamma
    x = x + m.down(m.up(m.second(x)).relu())
    return m.head(m.last(x).mean(1))


def parts(name: str) -> dict[str, nn.Module | torch.Tensor]:
    norms = {place: NORMALIZERS[name](C) for place in ("embedded", "first", "second", "last")}
    linears = {place: nn.Linear(C, C) for place in ("q", "k", "v", "out")}
    mlp = {"up": nn.Linear(C, 12), "down": nn.Linear(12, C), "head": nn.Linear(C, 3, bias=False)}
    return {"patch": nn.Conv2d(3, C, 2, 2), "gamma": torch.rand(C), **norms, **linears, **mlp}


def fold(
    function: Callable[..., Any], *inputs: torch.Tensor, bound: float = 1e-10, **given: nn.Module | torch.Tensor
) -> PassResult:
    module = randomized(Call(function, **given)).to(inputs[0].dtype)
    return assert_pass(exact, module, inputs, bound=bound)


def vectors(result: PassResult) -> list[str]:
    """Return what is still multiplied with or added to channels, biases of layers aside."""
    found = []
    for node in result.program.calls:
        if "linear" not in str(node.target) and "conv" not in str(node.target):
            constants = [result.program.constant(used) for used in node.all_input_nodes]
            found += [node.name for value in constants if value is not None and value.numel() == C]
    return found


@pytest.mark.parametrize(("dtype", "bound", "seed"), KINDS)
@pytest.mark.parametrize("name", NORMALIZERS)
def test_encoder(name: str, dtype: torch.dtype, bound: float, seed: int) -> None:
    torch.manual_seed(seed)
    result = fold(encoder, torch.randn(2, 3, 8, 8, dtype=dtype), bound=bound, **parts(name))
    # A norm at the embedding that is not an affine map has scale and shift on the stream.
    assert not [vector for vector in vectors(result) if name in AFFINE]
    assert len(vectors(result)) <= 2
    if name in AFFINE:
        assert not reasons(result)
        assert not {"batch_norm", "mul.Tensor", "div.Tensor", "layer_norm"} & set(ops(result))
        assert ops(result).count("add.Tensor") == 2


def test_patch_embedding_keeps_its_bias_term() -> None:
    given: dict[str, Any] = {"patch": nn.Conv2d(3, C, 2, 2), "norm": RepBN(C)}
    result = fold(lambda m, x: m.norm(m.patch(x).flatten(2).transpose(1, 2)), torch.randn(2, 3, 4, 4).double(), **given)
    assert "batch_norm" not in ops(result) and "add.Tensor" not in ops(result)


@pytest.mark.parametrize("norm", [RepBN(C), RepBNInside(C), PRepBN(C), UN(C), DyT(C)])
def test_border_is_exact_where_zeros_are_padded(norm: nn.Module) -> None:
    def function(m: Call, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = m.norm(x)
        padded = nn.functional.pad(y, (0, 0, 1, 2))
        return m.q(padded), m.k(padded), m.conv(m.other(x).transpose(1, 2))

    given: dict[str, Any] = {
        "q": nn.Linear(C, C),
        "k": nn.Linear(C, 3, bias=False),
        "conv": nn.Conv1d(C, 4, 3, padding=1),
    }
    result = fold(function, torch.randn(2, 5, C).double(), norm=norm, other=RepBNInside(C), **given)
    assert ops(result).count("add.Tensor") == 2 and "batch_norm" not in ops(result)
    assert ops(result).count("mul.Tensor") == isinstance(norm, DyT)


def test_mid_schedule_is_refused() -> None:
    given: dict[str, Any] = {"norm": PRepBN(C, blend=0.25), "linear": nn.Linear(C, 3)}
    result = fold(lambda m, x: m.linear(m.norm(x)), torch.randn(2, 5, C).double(), **given)
    assert "layer_norm" in ops(result)


def test_a_map_that_is_read_in_its_middle_goes_forward_only() -> None:
    def function(m: Call, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = m.stem(x) * m.gamma
        return m.linear(y + m.gamma), y.exp()

    given: dict[str, Any] = {"stem": nn.Linear(C, C), "linear": nn.Linear(C, 3), "gamma": torch.rand(C)}
    result = fold(function, torch.randn(2, 5, C).double(), **given)
    assert ops(result) == ["linear", "linear", "exp"]


def test_shift_of_a_dead_channel_stays() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        return m.linear(nn.functional.pad(x * m.dead + m.gamma, (0, 0, 1, 1)))

    given: dict[str, Any] = {"linear": nn.Linear(C, 3), "gamma": torch.rand(C), "dead": torch.arange(C) / C}
    result = fold(function, torch.randn(2, 5, C).double(), **given)
    assert any("pads with 0, which" in reason for reason in reasons(result))
