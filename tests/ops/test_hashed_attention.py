"""Attention by hash codes: its definition, what the paper promises of it, gradients, and every target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.ops.hashed_attention import FORMS, HASHED_ATTENTION, codes, hashed_attention
from edgeopt.quant.binary import dot_signs, pack
from tests.ops.on_targets import NAMES, error_on
from tests.typed import some

B, H, N, D, E, POINTS, BITS = 2, 3, 12, 8, 5, 25, 16


def operands(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = ((B, H, N, D), (B, H, N + 2, D), (B, H, N + 2, E), (H, POINTS, D), (H, POINTS), (H, BITS, POINTS))
    return [torch.randn(*shape, dtype=dtype) for shape in shapes]


def one_code(x: torch.Tensor, anchors: torch.Tensor, offset: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """The codes of one head's tokens, as the paper writes them."""
    x = x / x.norm(dim=-1, keepdim=True)
    distance = torch.cdist(x, anchors) ** 2
    kernel = (-distance / (2 * distance.mean())).exp()
    return torch.where((kernel - offset) @ planes.T >= 0, 1.0, -1.0).to(x)


@pytest.mark.parametrize("form", FORMS)
def test_equals_its_definition(form: str) -> None:
    q, k, v, *hashing = operands()
    found = hashed_attention(q, k, v[..., : N + 2, :], *hashing, form) if form == "paper" else None
    if form == "released":  # the own value needs as many queries as keys
        q = k
        found = hashed_attention(q, k, v, *hashing, form)
    for image in range(B):
        for head in range(H):
            of_head = [part[head] for part in hashing]
            hq, hk = (one_code(x[image, head], *of_head) for x in (q, k))
            agreeing = hq @ hk.T
            weights = agreeing + BITS + 1
            own = v[image, head]
            if form == "paper":
                wanted = weights @ own / weights.sum(-1, keepdim=True)
            else:
                wanted = (agreeing @ own + (BITS + 1) * own) / weights.sum(-1, keepdim=True)
            torch.testing.assert_close(some(found)[image, head], wanted)


def test_codes_agree_as_often_as_their_packed_words_say() -> None:
    q, k, _, *hashing = operands()
    hq, hk = codes(q, *hashing), codes(k, *hashing)
    counted = dot_signs(pack(hq).unsqueeze(-2), pack(hk).unsqueeze(-3), BITS)
    assert torch.equal(hq @ hk.mT, counted.double())
    assert counted.min() + BITS + 1 >= 1 and counted.max() + BITS + 1 <= 2 * BITS + 1


def test_the_papers_form_is_a_mean_of_the_values_and_the_released_one_is_not() -> None:
    q, k, v, *hashing = operands()
    ones = torch.ones_like(v)
    torch.testing.assert_close(hashed_attention(q, k, ones, *hashing), ones[:, :, :N])
    released = hashed_attention(k, k, ones, *hashing, "released")
    assert (released - ones).abs().min() > 0.1


def test_gradients_pass_the_sign_where_it_is_near_zero() -> None:
    q, k, v, *hashing = (tensor.requires_grad_() for tensor in operands())
    hashed_attention(q, k, v, *hashing).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in (q, k, v, *hashing))


def test_operator_passes_torchs_own_checks() -> None:
    torch.library.opcheck(HASHED_ATTENTION, (*operands(), "paper"), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(
    ("change", "message"),
    [({3: torch.ones(H, POINTS, 3)}, "anchors of size 3"), ({5: torch.ones(H, BITS, 2)}, "planes"), ({6: "x"}, "form")],
)
def test_shape_rule_refuses(change: dict[int, Any], message: str) -> None:
    given = [change.get(index, operand) for index, operand in enumerate([*operands(torch.float32), "paper"])]
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match=message):
        hashed_attention(*given)


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, tensor in zip(("anchors", "offset", "planes"), operands(torch.float32)[3:], strict=True):
            self.register_buffer(name, tensor)

    def forward(self, q: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hashing = self.anchors, self.offset, self.planes
        return hashed_attention(q, q, v, *hashing), hashed_attention(q, q, v, *hashing, "released")


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_targets(name: str, tmp_path: Path) -> None:
    _, k, v, *_ = operands(torch.float32)
    assert error_on(name, Both(), (k, v), tmp_path).relative < 1e-5
