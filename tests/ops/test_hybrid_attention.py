from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.ir.metrics import compare
from edgeopt.onnx import translate
from edgeopt.ops.feature_maps import LEARNED, feature_map
from edgeopt.ops.hybrid_attention import HYBRID_ATTENTION, empty_state, hybrid_attention, step
from edgeopt.plugins.testing import to_program
from tests.ops.on_targets import NAMES, error_on

B, H, N, D, E, F = 2, 3, 23, 4, 5, 6
WINDOW, SCALE = 4, 0.6


def tensors(dtype: torch.dtype = torch.float64, tokens: int = N) -> list[torch.Tensor]:
    return [torch.randn(B, H, tokens, size, dtype=dtype) for size in (D, D, E)] + [torch.randn(H, 1, 1, dtype=dtype)]


def parameters(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=dtype) * 0.5 for shape in ((H, D, F), (H, 1, F), (H, D, F), (H, 1, F))]


def written_out(
    operands: list[torch.Tensor], kind: str, window: int, causal: bool, weights: list[torch.Tensor]
) -> torch.Tensor:
    """The definition, pair by pair."""
    q, k, v, gate = operands
    tokens = q.shape[2]
    block = torch.arange(tokens) // window
    apart = block[:, None] - block
    past = torch.ones(tokens, tokens).tril().bool()
    near = (apart >= 0) & (apart <= 1) & past if causal else apart.abs() <= 1
    far = (apart > 1) if causal else ~near
    scores = (SCALE * q @ k.mT).masked_fill(~near, -torch.inf)
    window_weights = gate.sigmoid() * (scores - scores.amax(-1, keepdim=True)).exp()
    linear = (feature_map(kind, q, *weights[:2]) @ feature_map(kind, k, *weights[2:]).mT) * far
    together = window_weights + linear
    return together @ v / together.sum(-1, keepdim=True)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 4, 8, 23, 50])
@pytest.mark.parametrize("kind", ["hedgehog-split-softmax", "hedgehog-exp", "relu"])
def test_equals_its_definition(kind: str, window: int, causal: bool) -> None:
    q, k, v, gate = tensors()
    weights = parameters() if kind in LEARNED else []
    expected = written_out([q, k, v, gate], kind, window, causal, weights)
    torch.testing.assert_close(hybrid_attention(q, k, v, gate, kind, window, SCALE, causal, *weights), expected)


def test_a_window_over_all_is_softmax_attention() -> None:
    q, k, v, gate = tensors()
    got = hybrid_attention(q, k, v, gate, "elu", N, SCALE)
    torch.testing.assert_close(got, nn.functional.scaled_dot_product_attention(q, k, v, scale=SCALE))


def test_future_tokens_never_change_past_outputs() -> None:
    q, k, v, gate = tensors()
    weights = parameters()
    whole = hybrid_attention(q, k, v, gate, "hedgehog-exp", WINDOW, SCALE, True, *weights)
    for cut in (1, 6, 8, 13):
        changed = [x.clone() for x in (q, k, v)]
        for x in changed:
            x[:, :, cut:] = 10 * torch.rand_like(x[:, :, cut:])
        again = hybrid_attention(*changed, gate, "hedgehog-exp", WINDOW, SCALE, True, *weights)
        torch.testing.assert_close(again[:, :, :cut], whole[:, :, :cut])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("kind", ["hedgehog-split-softmax", "elu"])
def test_steps_equal_the_parallel_form(kind: str, dtype: torch.dtype, bound: float) -> None:
    q, k, v, gate = tensors(dtype, tokens=64)
    weights = parameters(dtype) if kind in LEARNED else []
    expected = hybrid_attention(q, k, v, gate, kind, WINDOW, SCALE, True, *weights)
    state, found = empty_state(q[:, :, :1], k[:, :, :1], v[:, :, :1], kind, WINDOW, *weights), []
    sizes = [x.shape for x in state]
    for t in range(64):
        one_q, one_k, one_v = (x[:, :, t : t + 1] for x in (q, k, v))
        out, state = step(one_q, one_k, one_v, state, gate, kind, WINDOW, SCALE, *weights)
        found.append(out)
    assert [x.shape for x in state] == sizes
    assert compare({"": expected.numpy()}, {"": torch.cat(found, 2).numpy()}).relative <= bound


class Step(nn.Module):
    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, gate: torch.Tensor, *state: Any
    ) -> tuple[torch.Tensor, ...]:
        out, state = step(q, k, v, state, gate, "elu", WINDOW, SCALE)
        return out, *state


def test_a_step_exports() -> None:
    q, k, v, gate = (x[:, :, :1] if x.dim() == 4 else x for x in tensors(torch.float32))
    inputs = (q, k, v, gate, *empty_state(q, k, v, "elu", WINDOW))
    program = to_program(Step(), inputs)
    assert not [node for node in program.calls if "edgeopt" in str(node.target)]
    assert len(translate(program).model.graph.outputs) == 7


# -- the operator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_operator_passes_torchs_own_checks(causal: bool) -> None:
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    q, k, v, gate, *weights = (x.requires_grad_() for x in (*tensors(), *parameters()))
    torch.library.opcheck(
        HYBRID_ATTENTION, (q, k, v, gate, "hedgehog-exp", WINDOW, SCALE, causal, *weights), test_utils=checks
    )


def test_gradients_are_those_of_the_form() -> None:
    q, k, v, gate, *weights = (x.requires_grad_() for x in (*tensors(tokens=7), *parameters()))

    def run(*x: torch.Tensor) -> torch.Tensor:
        return hybrid_attention(*x[:4], "hedgehog-split-softmax", 2, SCALE, False, *x[4:])

    assert torch.autograd.gradcheck(run, (q, k, v, gate, *weights), fast_mode=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_map": "flow"}, "none of"),
        ({"feature_map": "hedgehog-exp"}, "feature map 'hedgehog-exp'"),
        ({"window": 0}, "window of 0"),
        ({"gate": torch.ones(H)}, "3 heads"),
        ({"key": torch.ones(B, H, N + 1, D)}, "keys"),
    ],
)
def test_shape_rule_refuses(change: dict[str, Any], message: str) -> None:
    q, k, v, gate = (torch.ones(x.shape) for x in tensors())
    given = {"query": q, "key": k, "value": v, "gate": gate, "feature_map": "relu", "window": 4, "scale": 1.0}
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match=message):
        hybrid_attention(**{**given, **change})


# -- on the targets ------------------------------------------------------------------------------------


class Both(nn.Module):
    """Bidirectional and causal, with tokens that fill their blocks and tokens that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(parameters(torch.float32))
        self.gate = nn.Parameter(torch.randn(H, 1, 1))

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> dict[str, torch.Tensor]:
        kind = "hedgehog-split-softmax"
        return {
            f"window{window}_{causal}": hybrid_attention(q, k, v, self.gate, kind, window, SCALE, causal, *self.weights)
            for window in (4, 6)
            for causal in (False, True)
        }


@pytest.mark.parametrize("name", NAMES)
def test_targets_agree(name: str, tmp_path: Path) -> None:
    assert error_on(name, Both(), tensors(torch.float32, tokens=24)[:3], tmp_path).relative <= 1e-5


def test_onnx_keeps_attention_as_a_function_for_native_kernels() -> None:
    program = to_program(Both(), tensors(torch.float32)[:3])
    functions = translate(program).model.functions
    assert {name for domain, name, _ in functions if domain == "edgeopt"} == {"HybridAttention"}
    assert not translate(program, keep=()).model.functions
