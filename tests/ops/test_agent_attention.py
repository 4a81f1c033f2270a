from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt.onnx import translate
from edgeopt.ops.agent_attention import AGENT_ATTENTION, agent_attention, pooling
from edgeopt.plugins.testing import to_program
from tests.ops.on_targets import NAMES, error_on

B, H, D, E = 2, 3, 4, 5
GRID, AGENTS, SCALE = (6, 5), (2, 3), 0.5
N, M = 1 + 30, 7


def qkv(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.randn(B, H, *size, dtype=dtype) for size in ((N, D), (M, D), (M, E))]


def biases(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.randn(H, 6, M, dtype=dtype), torch.randn(H, N, 6, dtype=dtype)]


def test_agents_are_pooled_patches_and_skip_the_class_token() -> None:
    x = torch.randn(N, D).double()
    image = x[1:].T.reshape(1, D, *GRID)
    expected = functional.adaptive_avg_pool2d(image, AGENTS).reshape(D, -1).T
    torch.testing.assert_close(pooling(N, AGENTS, GRID) @ x, expected)


def test_equals_its_definition() -> None:
    (q, k, v), (first, second) = qkv(), biases()
    agents = pooling(N, AGENTS, GRID) @ q
    gathered = (SCALE * agents @ k.mT + first).softmax(-1) @ v
    expected = (SCALE * q @ agents.mT + second).softmax(-1) @ gathered
    torch.testing.assert_close(agent_attention(q, k, v, AGENTS, GRID, SCALE, first, second), expected)


def test_weights_of_all_keys_sum_to_one_and_keys_have_no_order() -> None:
    q, k, v = qkv()
    torch.testing.assert_close(
        agent_attention(q, k, torch.ones_like(v), AGENTS, GRID, SCALE), torch.ones(B, H, N, E).double()
    )
    order = torch.randperm(M)
    mixed = agent_attention(q, k[:, :, order], v[:, :, order], AGENTS, GRID, SCALE)
    torch.testing.assert_close(mixed, agent_attention(q, k, v, AGENTS, GRID, SCALE))


def test_operator_passes_torchs_own_checks() -> None:
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    operands = [t.requires_grad_() for t in (*qkv(), *biases())]
    torch.library.opcheck(AGENT_ATTENTION, (*operands[:3], AGENTS, GRID, SCALE, *operands[3:]), test_utils=checks)


@pytest.mark.parametrize(("agents", "grid", "message"), [((2,), GRID, "two sizes"), (AGENTS, (8, 8), "for 31 tokens")])
def test_shape_rule_refuses(agents: tuple[Any, ...], grid: tuple[Any, ...], message: str) -> None:
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match=message):
        agent_attention(*qkv(), agents, grid, SCALE)


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.biases = nn.ParameterList(biases(torch.float32))

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        settings = (AGENTS, GRID, SCALE)
        return agent_attention(q, k, v, *settings, *self.biases), agent_attention(q, k, v, *settings)


@pytest.mark.parametrize("name", NAMES)
def test_targets_agree(name: str, tmp_path: Path) -> None:
    assert error_on(name, Both(), qkv(torch.float32), tmp_path).relative <= 1e-5


def test_onnx_keeps_attention_as_a_function_for_native_kernels() -> None:
    program = to_program(Both(), qkv(torch.float32))
    functions = translate(program).model.functions
    assert {name for domain, name, _ in functions if domain == "edgeopt"} == {"AgentAttention"}
    assert not translate(program, keep=()).model.functions
