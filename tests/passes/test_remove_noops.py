from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.passes.exact.remove_noops import RemoveNoops
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import Call, ops, reasons

aten = torch.ops.aten
DYNAMIC = torch.export.Dim.DYNAMIC
X = torch.randn(2, 3, 4)

NOOPS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda x: x.clone(),
    lambda x: x.contiguous(),
    lambda x: x.detach(),
    lambda x: aten.alias(x),
    lambda x: aten.lift_fresh_copy(x),
    lambda x: nn.functional.dropout(x, 0.5, training=False),
    lambda x: x.to(torch.float32),
    lambda x: aten._to_copy(x, dtype=torch.float32),
    lambda x: x * 1,
    lambda x: 1.0 * x,
    lambda x: x / 1,
    lambda x: x + 0,
    lambda x: 0.0 + x,
    lambda x: x - 0,
    lambda x: x**1,
    lambda x: x.reshape(2, 3, 4),
    lambda x: x.expand(2, 3, 4),
    lambda x: x[:, 0:4],
    lambda x: nn.functional.pad(x, (0, 0)),
    lambda x: x.permute(0, -2, 2),
    lambda x: x.transpose(1, 1),
    lambda x: x.repeat(1, 1, 1),
    lambda x: torch.roll(x, 0, 1),
    lambda x: x.transpose(1, 2).transpose(2, 1),
    lambda x: x.permute(2, 0, 1).permute(1, 2, 0),
    lambda x: x.reshape(6, 4).reshape(2, 3, 4),
    lambda x: x.unsqueeze(1).squeeze(1),
    lambda x: x.flatten(1).unflatten(1, (3, 4)),
]


def run(
    function: Callable[..., Any], x: torch.Tensor = X, changes: bool | None = True, **parts: nn.Module | torch.Tensor
) -> Any:
    return assert_pass(RemoveNoops(), Call(lambda m, x: function(m, x), **parts), (x,), changes=changes)


@pytest.mark.parametrize("index", range(len(NOOPS)))
def test_noop_goes(index: int) -> None:
    result = run(lambda m, x: torch.relu(NOOPS[index](torch.tanh(x))), changes=None)
    assert ops(result) == ["tanh", "relu"]


def test_noops_of_constants_go() -> None:
    result = run(lambda m, x: x * m.ones + m.zeros, ones=torch.ones(3, 4), zeros=torch.zeros(1))
    assert ops(result) == []


WORK: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda x: x.to(torch.float64),
    lambda x: x * 2,
    lambda x: 1 - x,
    lambda x: x[:, 1:],
    lambda x: x.expand(5, 2, 3, 4),
    lambda x: x.transpose(0, 1),
    lambda x: nn.functional.pad(x, (1, -1)),
    lambda x: torch.roll(x, 1, 1),
    lambda x: x * torch.ones(5, 2, 3, 4),
    lambda x: x.flip(0),
]


def test_work_stays() -> None:
    module = Call(lambda m, x: tuple(work(x) for work in WORK))
    before = to_program(module, (X,))
    result = assert_pass(RemoveNoops(), before, (X,), changes=False)
    assert result.notes == ()


def test_promotion_is_no_noop() -> None:
    result = run(lambda m, x: (x * 1.0, x + 0), x=torch.arange(6))
    assert ops(result) == ["mul.Tensor"]


def test_merges_reshapes() -> None:
    result = run(lambda m, x: torch.relu(x.reshape(6, 4).unsqueeze(0).flatten()))
    assert result.program.text() == (
        "input inputs_0:2x3x4:float32\n"
        "reshape_3 = aten.reshape(%inputs_0, [24])\n"
        "relu = aten.relu(%reshape_3)\n"
        "return [%relu]\n"
    )


def test_merges_permutes() -> None:
    result = run(lambda m, x: x.permute(1, 2, 0).permute(1, 0, 2))
    assert "aten.permute(%inputs_0, [2, 1, 0])" in result.program.text() and ops(result) == ["permute"]


def test_merges_although_the_middle_is_read() -> None:
    def function(m: Call, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = x.reshape(6, 4)
        return y, y.reshape(3, 8)

    text = run(function).program.text()
    assert "aten.reshape(%inputs_0, [3, 8])" in text and "aten.reshape(%inputs_0, [6, 4])" in text


def test_linear_keeps_its_leading_dimensions() -> None:
    result = run(lambda m, x: m.linear(x.reshape(6, 4)).reshape(2, 3, 5), linear=nn.Linear(4, 5))
    assert ops(result) == ["linear"]


def test_refuses_linear_that_is_read_flat() -> None:
    def function(m: Call, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = m.linear(x.reshape(6, 4))
        return y, y.reshape(2, 3, 5)

    result = run(function, changes=False, linear=nn.Linear(4, 5))
    assert reasons(result) == ["linear is also read by output"]


def test_refuses_dropout_in_training() -> None:
    program = to_program(Call(lambda m, x: torch.relu(x)), (X,))
    relu = next(program.calls)
    relu.target, relu.args = aten.dropout.default, (relu.args[0], 0.0, True)
    result = assert_pass(RemoveNoops(), program, (X,), changes=False)
    assert reasons(result) == ["it is in training mode"]


def test_dynamic_shapes() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        batch, length = x.shape[:2]
        flat = x.reshape(batch * length, 4).clone().reshape(batch, length, 4)
        heads = m.linear(flat.reshape(-1, 4)).reshape(batch, length, 5)
        return heads[:, :length].expand(batch, -1, -1) + 0.0

    program = to_program(Call(function, linear=nn.Linear(4, 5)), (X,), (({0: DYNAMIC, 1: DYNAMIC},),))
    for shape in ((2, 3, 4), (5, 7, 4)):
        result = assert_pass(RemoveNoops(), program, (torch.randn(shape),), changes=True)
        assert ops(result) == ["linear"]


def test_equal_for_some_shapes_only_is_no_noop() -> None:
    module = Call(lambda m, x: x.reshape(x.shape[1], x.shape[0], 4))
    program = to_program(module, (X,), (({0: DYNAMIC, 1: DYNAMIC},),))
    assert_pass(RemoveNoops(), program, (torch.randn(5, 5, 4),), changes=False)


def test_refuses_two_dynamic_dimensions() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], x.shape[1], 2, 2).unsqueeze(0)

    program = to_program(Call(function), (X,), (({0: DYNAMIC, 1: DYNAMIC},),))
    result = assert_pass(RemoveNoops(), program, (torch.randn(5, 7, 4),), changes=False)
    assert reasons(result) == ["two of its dimensions are dynamic"]


def test_reshapes_to_no_dimensions_merge() -> None:
    function = lambda m, x: x.sum((0, 1, 2), keepdim=True).reshape(1, 1).reshape(()) * 2  # noqa: E731
    assert ops(assert_pass(RemoveNoops(), Call(function), (X,)).program).count("reshape") == 1
    assert_pass(RemoveNoops(), Call(lambda m, x: m.linear(x).reshape(()), linear=nn.Linear(4, 1)), (X[0, :1],))
