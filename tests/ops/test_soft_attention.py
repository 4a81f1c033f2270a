from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.onnx import translate
from edgeopt.ops.soft_attention import SOFT_ATTENTION, newton_inverse, soft_attention
from edgeopt.plugins.testing import to_program
from tests.ops.on_targets import NAMES, error_on

B, H, N, D, E, M = 2, 3, 16, 4, 5, 6


def operands(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.randn(B, H, *size, dtype=dtype) for size in ((N, D), (M, D), (N, E))]


def gaussian(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (-(torch.cdist(a, b) ** 2) / 2).exp()


@pytest.mark.parametrize("normalized", [False, True])
def test_equals_its_definition(normalized: bool) -> None:
    q, landmarks, v = operands()
    near, kernel = gaussian(q, landmarks), gaussian(landmarks, landmarks)
    inverse = torch.linalg.inv(kernel + 0.01 * torch.eye(M).double())
    if normalized:
        root = torch.diag_embed(kernel.sum(-1) ** -0.5)
        inverse = root @ inverse @ root
    torch.testing.assert_close(soft_attention(q, landmarks, v, 30, normalized), near @ inverse @ near.mT @ v)


def test_landmarks_at_all_tokens_give_the_full_kernel() -> None:
    q, _, v = operands()
    far = 3 * q  # apart, so that the kernel is well conditioned
    full = gaussian(far, far)
    ridged = full @ torch.linalg.inv(full + 0.01 * torch.eye(N).double()) @ full
    torch.testing.assert_close(soft_attention(far, far, v, 40), ridged @ v)


def test_twenty_steps_invert_a_kernel_of_49_landmarks() -> None:
    landmarks = 2 * torch.randn(4, 49, 32).double() / 32**0.25
    kernel = gaussian(landmarks, landmarks)
    product = newton_inverse(kernel, 20) @ (kernel + 0.01 * torch.eye(49).double())
    assert (product - torch.eye(49).double()).abs().max() < 1e-2


def test_operator_passes_torchs_own_checks() -> None:
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(SOFT_ATTENTION, (*[t.requires_grad_() for t in operands()], 5, True), test_utils=checks)


@pytest.mark.parametrize(
    ("change", "message"), [({0: torch.ones(B, H, N, 3)}, "landmarks"), ({2: torch.ones(B, H, 3, E)}, "3 values")]
)
def test_shape_rule_refuses(change: dict[int, Any], message: str) -> None:
    given = [change.get(index, operand) for index, operand in enumerate(operands(torch.float32))]
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match=message):
        soft_attention(*given)


class Both(nn.Module):
    def forward(self, q: torch.Tensor, landmarks: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return soft_attention(q, landmarks, v), soft_attention(q, landmarks, v, 12, True)


@pytest.mark.parametrize("name", NAMES)
def test_targets_agree(name: str, tmp_path: Path) -> None:
    error = error_on(name, Both(), operands(torch.float32), tmp_path)
    assert error.relative <= 1e-4  # the inverse multiplies what rounding leaves


def test_onnx_keeps_attention_as_a_function_for_native_kernels() -> None:
    program = to_program(Both(), operands(torch.float32))
    functions = translate(program).model.functions
    assert {name for domain, name, _ in functions if domain == "edgeopt"} == {"SoftAttention"}
    assert not translate(program, keep=()).model.functions
