"""The kernel of products of signs in OpenVINO against the operator's torch reference, at every instruction set."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.ops.binary_matmul import binary_matmul

from . import openvino_kernels as openvino

pytestmark = openvino.requires_compiler
CASES = 40
LEADING = [
    ((), ()),
    ((3,), (3,)),
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((2, 1), (1, 3)),
    ((), (4,)),
    ((1, 2, 1), (3, 1, 5)),
]


def case(rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    n, m = rng.choice([1, 3, 4, 7, 50, 97]), rng.choice([1, 8, 15, 16, 17, 52, 64, 130])
    k = rng.choice([1, 8, 31, 32, 33, 63, 64, 100, 300, 1100])
    left, right = rng.choice(LEADING)
    a, b = torch.randn(*left, n, k), torch.randn(*right, k, m)
    a[..., 0], b[..., 0] = -0.5, 0.25  # zero once they are shifted, which counts as +1
    return a, b


def stored(rng: random.Random, tensor: torch.Tensor, last: list[int]) -> tuple[torch.Tensor, str]:
    """Return a tensor with its axes in any order, one of ``last`` the last, and the order that leads back."""
    end = rng.choice(last) % tensor.dim()
    axes = [axis for axis in range(tensor.dim()) if axis != end]
    rng.shuffle(axes)
    return tensor.permute(*axes, end).contiguous(), ",".join(map(str, np.argsort([*axes, end])))


@pytest.mark.parametrize("bits", [False, True])
def test_kernel_is_equal_to_the_bit(bits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(int(bits))
    for _ in range(CASES):
        a, b = case(rng)
        scale = rng.uniform(-2, 2)
        expected = binary_matmul(a, b, 0.5, -0.25, scale, bits)
        (left, a_order), (right, b_order) = stored(rng, a, [-1]), stored(rng, b, [-1, -2])
        expected, out_order = stored(rng, expected, [-1])
        orders = {"a_order": a_order, "b_order": b_order, "out_order": out_order}
        factors = {"a_shift": 0.5, "b_shift": -0.25, "scale": scale, "bits": int(bits)}
        run = openvino.operator("BinaryMatmul", {**orders, **factors}, [left, right])
        for level in openvino.levels(monkeypatch):
            assert torch.equal(run(), expected), (level, bits, a.shape, b.shape, orders)


class Attention(nn.Module):
    """Attention of signs over [batch, tokens, heads, channels]: what is masked or below the threshold is 0."""

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        scores = binary_matmul(query, key.transpose(-1, -2), 0.1, -0.1, 0.125, False)
        mixed = binary_matmul(scores + scores.mean(), value, -0.5, 0.0, 0.3, True)
        return mixed.transpose(1, 2).flatten(2) * 1.5


@pytest.mark.parametrize("threads", [1, 2])
def test_transposes_are_absorbed(threads: int) -> None:
    inputs = [torch.randn(2, 37, 3, 40) for _ in "qkv"]
    attention = Attention()
    run, types = openvino.module(attention, inputs, threads)
    assert "BinaryMatmul" in types and not types & {"Transpose", "MatMul", "GreaterEqual"}
    torch.testing.assert_close(run(), attention(*inputs), rtol=1e-6, atol=1e-6)


def test_a_transpose_stays_where_rows_would_be_far_apart() -> None:
    class Gram(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return binary_matmul(x.mT, x, 0.0, 0.0, 1.0, False).mT * 2

    x = torch.randn(3, 50, 9)
    run, types = openvino.module(Gram(), [x])
    assert {"BinaryMatmul", "Transpose"} <= types
    assert torch.equal(run(), Gram()(x))
