"""Products of activations of one bit: counts of bits, the same on every target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.onnx import translate
from edgeopt.ops.binary_matmul import BINARY_MATMUL, binary_matmul
from edgeopt.plugins.testing import to_program
from edgeopt.quant.binary import dot_bits_signs, dot_signs, pack
from tests.ops.on_targets import NAMES, error_on

B, H, N, K, M = 2, 3, 5, 70, 4


def operands() -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.randn(B, H, N, K), torch.randn(B, H, K, M)
    a[..., :9], b[..., :9, :] = 0.0, -0.0  # zeros of both signs are +1
    return a, b


@pytest.mark.parametrize("k", [1, 31, 32, 33, 64, 70])
def test_equals_counts_of_bits_in_words(k: int) -> None:
    a, b = operands()
    a, b = a[..., :k], b[..., :k, :]
    left, right = pack(a).unsqueeze(-2), pack(b.mT).unsqueeze(-3)
    assert torch.equal(binary_matmul(a, b, 0.0, 0.0, 1.0, False), dot_signs(left, right, k).float())
    assert torch.equal(binary_matmul(a, b, 0.0, 0.0, 1.0, True), dot_bits_signs(left, right).float())


def test_operator_passes_torchs_own_checks() -> None:
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(BINARY_MATMUL, (*operands(), 0.5, -0.25, 2.0, True), test_utils=checks)


def test_shape_rule_refuses() -> None:
    a, b = operands()
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match="69 columns"):
        binary_matmul(a[..., 1:], b, 0.0, 0.0, 1.0, False)


class Both(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return binary_matmul(a, b, 0.3, -0.1, 0.5, False), binary_matmul(a, b, -0.4, 0.0, 2.0, True)


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_targets(name: str, tmp_path: Path) -> None:
    assert error_on(name, Both(), operands(), tmp_path).max_abs == 0


def test_is_a_function_of_the_onnx_file() -> None:
    functions = translate(to_program(Both(), operands())).model.functions
    assert ("edgeopt", "BinaryMatmul", "") in functions
    assert np.isin(
        ["GreaterOrEqual", "MatMul"], [node.op_type for node in functions["edgeopt", "BinaryMatmul", ""]]
    ).all()
