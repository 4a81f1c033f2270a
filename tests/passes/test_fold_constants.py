from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import edgeopt.ops.dequantize_blocks
import edgeopt.ops.quantize  # noqa: F401
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import Call, ops, reasons

X = torch.randn(2, 3, 4)


def run(function: Callable[..., Any], changes: bool = True, **parts: nn.Module | torch.Tensor) -> Any:
    return assert_pass(FoldConstants(), Call(function, **parts), (X,), changes=changes, bound=0.0)


def test_what_needs_no_input_is_evaluated() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        mask = torch.ones(3, 3).tril().exp()
        position = m.table[torch.arange(3)] * 0.5 + m.table[:, :1].sum()
        return (mask @ x) @ m.weight.t() + position

    result = run(function, table=torch.randn(5, 4), weight=torch.randn(4, 4))
    assert ops(result) == ["matmul", "matmul", "add.Tensor"] or ops(result) == ["matmul", "linear", "add.Tensor"]


def test_text_and_name() -> None:
    result = run(lambda m, x: x + m.table[:3], table=torch.randn(5, 4))
    assert result.program.text() == (
        "constant table_1:3x4:float32\n"
        "input inputs_0:2x3x4:float32\n"
        "add = aten.add.Tensor(%inputs_0, %table_1)\n"
        "return [%add]\n"
    )


def test_items_of_a_split_constant() -> None:
    result = run(lambda m, x: torch.relu(x) * m.table.split(2)[1][:, :4].sum(), table=torch.randn(4, 4))
    assert ops(result) == ["relu", "mul.Tensor"]


def test_a_constant_output() -> None:
    result = run(lambda m, x: (x.relu(), torch.arange(4) * 2))
    assert ops(result) == ["relu"]


def test_stored_values_hold_no_larger_memory() -> None:
    program = run(lambda m, x: x + m.table[0], table=torch.randn(500, 4)).program
    (tensor,) = program.constants.values()
    assert tensor.untyped_storage().nbytes() == 16


def test_a_large_weight_may_change_its_layout() -> None:
    result = run(lambda m, x: torch.einsum("bnc,co->bno", x, m.weight.t().contiguous()), weight=torch.randn(2**18, 4))
    assert "permute" not in ops(result)[:1] and sum(t.numel() for t in result.program.constants.values()) == 2**20


REFUSALS: list[tuple[Callable[..., torch.Tensor], str]] = [
    (lambda m, x: x.sum() + m.small.expand(2**18, 4), "the program would grow by 4.0 MiB"),
    (lambda m, x: x.sum() + m.large.t(), "the program would grow by 4.0 MiB"),
    (lambda m, x: x + torch.rand(3, 4) * 0, "it is random"),
    (lambda m, x: x + torch.empty(3, 4).zero_(), "it returns uninitialized memory"),
]


@pytest.mark.parametrize(("function", "reason"), REFUSALS)
def test_refusals(function: Callable[..., torch.Tensor], reason: str) -> None:
    def whole(m: Call, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return function(m, x), nn.functional.linear(x, m.large).sum()

    module = Call(whole, small=torch.randn(4), large=torch.randn(2**18, 4))
    result = assert_pass(FoldConstants(), module, (X,))
    assert reason in reasons(result)


def test_refuses_to_undo_quantization() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x @ torch.ops.edgeopt.dequantize(m.weight, m.scale, m.zero, 0)
        return y

    parts = {"scale": torch.tensor(0.5), "zero": torch.tensor(0, dtype=torch.int8)}
    result = run(function, changes=False, weight=torch.ones(4, 4, dtype=torch.int8), **parts)
    assert reasons(result) == ["it is a weight as it is stored"]


def test_refuses_to_unpack_weights_in_four_bits() -> None:
    def function(m: Call, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x @ torch.ops.edgeopt.dequantize_blocks(m.weight, m.scale, m.factor, "int4")
        return y

    parts = {"scale": torch.ones(4, 1), "factor": torch.tensor(1.0)}
    result = run(function, changes=False, weight=torch.ones(4, 2, dtype=torch.uint8), **parts)
    assert reasons(result) == ["it is a weight as it is stored"]


def test_tied_weights_are_not_freed() -> None:
    tied = torch.randn(2**18, 4)
    module = Call(lambda m, x: (x.sum() + m.a.t(), m.b[x.long()]), a=tied, b=tied)
    result = assert_pass(FoldConstants(), module, (X.abs(),), changes=False)
    assert reasons(result) == ["the program would grow by 4.0 MiB"]


def test_dynamic_sizes_are_not_constant() -> None:
    function = Call(lambda m, x: x + torch.arange(x.shape[1]).unsqueeze(1))
    program = to_program(function, (X,), (({1: torch.export.Dim.DYNAMIC},),))
    assert_pass(FoldConstants(), program, (torch.randn(2, 5, 4),), changes=False)
