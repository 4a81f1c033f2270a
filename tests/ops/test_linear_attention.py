from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt.ir.metrics import compare
from edgeopt.onnx import translate
from edgeopt.ops.feature_maps import LEARNED, feature_count, feature_map
from edgeopt.ops.linear_attention import KINDS, LINEAR_ATTENTION, empty_state, linear_attention, step
from edgeopt.plugins.testing import to_program
from tests.ops.on_targets import NAMES, error_on

B, H, N, D, E = 2, 3, 9, 4, 5
ALL = sorted(KINDS)


def qkv(tokens: int = N, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.randn(B, H, tokens, size, dtype=dtype) for size in (D, D, E)]


def parameters(kind: str, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    if kind not in LEARNED:
        return []
    return [torch.randn(shape, dtype=dtype) * 0.5 for shape in ((H, D, 6), (H, 1, 6), (H, D, 6), (H, 1, 6))]


# -- each kind is what its paper says ------------------------------------------------------------------


def by_weights(weights: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return weights / weights.sum(-1, keepdim=True) @ v


def test_taylor_is_the_second_order_expansion_with_153_features_for_16_channels() -> None:
    q, k, v = qkv()
    s = q @ k.mT / math.sqrt(D)
    torch.testing.assert_close(linear_attention(q, k, v, "taylor"), by_weights(1 + s + s * s / 2, v))
    assert feature_map("taylor", torch.randn(1, 16)).shape[-1] == feature_count("taylor", 16) == 153


@pytest.mark.parametrize("kind", ["relu", "elu"])
def test_fixed_maps(kind: str) -> None:
    q, k, v = qkv()
    maps: dict[str, Callable[[torch.Tensor], torch.Tensor]]
    maps = {"relu": torch.relu, "elu": lambda x: functional.elu(x) + 1}
    phi = maps[kind]
    weights = phi(q) @ phi(k).mT
    expected = weights @ v / (weights.sum(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(linear_attention(q, k, v, kind), expected)


def test_the_three_hedgehogs_differ() -> None:
    q, k, v = qkv()
    w, b, u, c = parameters("hedgehog-exp")
    z, y = q @ w + b, k @ u + c

    def both(x: torch.Tensor, f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return torch.cat([f(x), f(-x)], -1)

    expected = {
        "hedgehog-exp": both(z, torch.exp) @ both(y, torch.exp).mT,
        "hedgehog-split-softmax": both(z, lambda x: x.softmax(-1)) @ both(y, lambda x: x.softmax(-1)).mT,
        "hedgehog-joint-softmax": both(z, lambda x: 2 * x).softmax(-1) @ both(y, lambda x: 2 * x).softmax(-1).mT,
    }
    for kind, weights in expected.items():
        torch.testing.assert_close(linear_attention(q, k, v, kind, False, w, b, u, c), by_weights(weights, v))
    exp, split, joint = expected.values()
    assert not torch.allclose(exp, split) and not torch.allclose(split, joint)


def test_inline_weights_sum_to_one() -> None:
    q, k, v = qkv()
    scale = D**-0.5 / N
    weights = scale * (q @ k.mT) - scale * (q @ k.mT).mean(-1, keepdim=True) + 1 / N
    torch.testing.assert_close(linear_attention(q, k, v, "inline"), weights @ v)
    torch.testing.assert_close(linear_attention(q, k, torch.ones_like(v), "inline"), torch.ones_like(v))


def test_flow_is_conserved_and_blind_to_the_order_of_keys() -> None:
    q, k, v = qkv()
    incoming = 1 / (q.sigmoid() @ k.sigmoid().sum(-2)[..., None])
    assert torch.allclose((q.sigmoid() * incoming) @ k.sigmoid().sum(-2)[..., None], torch.ones(()).double())
    order = torch.randperm(N)
    torch.testing.assert_close(
        linear_attention(q, k, v, "flow"), linear_attention(q, k[:, :, order], v[:, :, order], "flow")
    )


def test_depthwise_branch_is_a_convolution_shared_by_heads_and_skips_the_class_token() -> None:
    q, k, v = qkv(tokens=1 + 6)
    weight, bias = torch.randn(E, 1, 3, 3).double(), torch.randn(E).double()
    branch = linear_attention(q, k, v, "relu", False, None, None, None, None, weight, bias, (2, 3)) - linear_attention(
        q, k, v, "relu"
    )
    image = v[1, 2, 1:].T.reshape(1, E, 2, 3)
    expected = functional.conv2d(image, weight, bias, padding=1, groups=E).reshape(E, 6).T
    torch.testing.assert_close(branch[1, 2, 1:], expected)
    assert not branch[:, :, 0].any()


def test_queries_that_see_nothing_give_zero() -> None:
    q, k, v = qkv()
    assert not linear_attention(-q.abs(), k, v, "relu").any()


# -- causal and step by step ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_future_tokens_never_change_past_outputs(kind: str) -> None:
    q, k, v = qkv()
    weights = parameters(kind)
    whole = linear_attention(q, k, v, kind, True, *weights)
    for tensor in (q, k, v):
        tensor[:, :, 5:] = 100 * torch.rand_like(tensor[:, :, 5:])
    torch.testing.assert_close(linear_attention(q, k, v, kind, True, *weights)[:, :, :5], whole[:, :, :5])


@pytest.mark.parametrize("kind", sorted(KINDS - {"flow"}))
def test_last_token_of_the_causal_form_sees_all(kind: str) -> None:
    q, k, v = qkv()
    weights = parameters(kind)
    causal, full = (linear_attention(q, k, v, kind, flag, *weights) for flag in (True, False))
    torch.testing.assert_close(causal[:, :, -1], full[:, :, -1])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("kind", ALL)
def test_steps_equal_the_parallel_form(kind: str, dtype: torch.dtype, bound: float) -> None:
    q, k, v = qkv(tokens=64, dtype=dtype)
    weights = parameters(kind, dtype)
    expected = linear_attention(q, k, v, kind, True, *weights)
    state, found = empty_state(q[:, :, :1], v[:, :, :1], kind, *weights), []
    for t in range(64):
        out, state = step(q[:, :, t : t + 1], k[:, :, t : t + 1], v[:, :, t : t + 1], state, kind, *weights)
        found.append(out)
    error = compare({"": expected.numpy()}, {"": torch.cat(found, 2).numpy()})
    assert error.relative <= bound


def test_state_does_not_grow() -> None:
    q, k, v = qkv(tokens=1)
    state = empty_state(q, v, "taylor")
    _, after = step(q, k, v, state, "taylor")
    assert [t.shape for t in state] == [t.shape for t in after] == [(B, H, 15, E), (B, H, 1, 15)]


# -- the operator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["relu", "hedgehog-exp", "flow"])
def test_operator_passes_torchs_own_checks(kind: str) -> None:
    tensors = [t.requires_grad_() for t in (*qkv(), *parameters(kind))]
    torch.library.opcheck(LINEAR_ATTENTION, (*tensors[:3], kind, False, *tensors[3:]))


def test_gradients_are_those_of_the_form() -> None:
    q, k, v = (t.requires_grad_() for t in qkv())
    weight = torch.randn(E, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    run = lambda q, k, v, w: linear_attention(q, k, v, "elu", False, None, None, None, None, w, None, (3, 3))  # noqa: E731
    assert torch.autograd.gradcheck(run, (q, k, v, weight))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("softmax",), "none of"),
        (("hedgehog-exp",), "feature map 'hedgehog-exp'"),
        (("relu", True, None, None, None, None, torch.ones(E, 1, 3, 3), None, (3, 3)), "later tokens"),
        (("relu", False, None, None, None, None, torch.ones(E, 1, 3, 3), None, (3,)), "grid"),
        (("relu", False, None, None, None, None, torch.ones(E, 1, 3, 3), None, (4, 3)), "for 9 tokens"),
    ],
)
def test_shape_rule_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match=message):
        linear_attention(*(torch.ones(t.shape) for t in qkv()), *arguments)


# -- on the targets ------------------------------------------------------------------------------------


class Every(nn.Module):
    """All kinds side by side, bidirectional or causal; SLA's branch where it may be."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.weights = nn.ParameterList(parameters("hedgehog-exp", torch.float32))
        self.filters, self.bias = nn.Parameter(torch.randn(E, 1, 3, 3)), nn.Parameter(torch.randn(E))

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> dict[str, torch.Tensor]:
        out = {}
        for kind in ALL:
            weights = self.weights if kind in LEARNED else [None] * 4
            out[kind.replace("-", "_")] = linear_attention(q, k, v, kind, self.causal, *weights)
        if not self.causal:
            branch = (self.filters, self.bias, (2, 4))
            out["sla"] = linear_attention(q, k, v, "relu", False, None, None, None, None, *branch)
        return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_targets_agree(name: str, causal: bool, tmp_path: Path) -> None:
    assert error_on(name, Every(causal), qkv(dtype=torch.float32), tmp_path).relative <= 1e-5


@pytest.mark.parametrize(
    ("causal", "names"),
    [
        (False, {"LinearAttention", "InlineAttention", "FlowAttention"}),
        (True, {"CausalLinearAttention", "CausalInlineAttention", "CausalFlowAttention"}),
    ],
)
def test_onnx_keeps_attention_as_functions_for_native_kernels(causal: bool, names: set[str]) -> None:
    program = to_program(Every(causal), qkv(dtype=torch.float32))
    assert {name for domain, name, _ in translate(program).model.functions if domain == "edgeopt"} == names
    assert not translate(program, keep=()).model.functions
