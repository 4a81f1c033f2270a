"""Multiply-accumulates of our own operators: by hand, and as torch counts the products of their bodies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgeopt.analysis.macs import count_macs
from edgeopt.ops import agent_attention, hybrid_attention, soft_attention
from edgeopt.ops.binary_conv2d import binary_conv2d
from edgeopt.ops.binary_linear import binary_linear
from edgeopt.ops.binary_matmul import binary_matmul
from edgeopt.ops.fp4_linear import fp4_linear
from edgeopt.ops.hashed_attention import hashed_attention
from edgeopt.ops.linear_attention import attend, linear_attention
from edgeopt.plugins.testing import to_program
from edgeopt.quant.binary import pack
from tests.passes.builders import Call

B, H, N, D, E = 1, 2, 10, 4, 4
QKV = [torch.randn(B, H, N, size) for size in (D, D, E)]
MATRICES = {"wq": torch.randn(H, D, 3), "wk": torch.randn(H, D, 3)}
GATE = torch.zeros(H, 1, 1)


def counted(function: Callable[..., torch.Tensor], *inputs: torch.Tensor, **held: torch.Tensor) -> int:
    program = to_program(Call(lambda m, *x: function(m, *x), **held), inputs)
    sample = {spec.name: x.numpy() for spec, x in zip(program.inputs, inputs, strict=True)}
    return sum(count_macs(program, sample).values())


@pytest.mark.parametrize(
    ("kind", "causal", "macs"),
    [
        ("relu", False, H * 2 * N * D * E),
        ("relu", True, H * N * N * (D + E)),
        ("taylor", False, H * 2 * N * (1 + 4 + 10) * E),
        ("inline", False, H * 2 * N * D * E),
        ("flow", True, H * N * N * (D + E)),
    ],
)
def test_linear_attention(kind: str, causal: bool, macs: int) -> None:
    assert counted(lambda m, q, k, v: linear_attention(q, k, v, kind, causal), *QKV) == macs


def test_linear_attention_with_what_it_learns() -> None:
    def hedgehog(m: Call, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return linear_attention(q, k, v, "hedgehog-exp", False, m.wq, None, m.wk)

    assert counted(hedgehog, *QKV, **MATRICES) == H * 2 * N * (D * 3 + 6 * E)

    def sla(m: Call, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return linear_attention(q, k, v, "relu", depthwise=m.filters, grid=(3, 3))

    assert counted(sla, *QKV, filters=torch.randn(E, 1, 5, 5)) == H * (2 * N * D * E + 9 * E * 25)


@pytest.mark.parametrize(("causal", "beside"), [(False, 3), (True, 2)])
def test_hybrid_attention(causal: bool, beside: int) -> None:
    def model(m: Call, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return hybrid_attention.hybrid_attention(q, k, v, m.gate, "relu", 4, 0.5, causal)

    near, far = 12 * beside * 4 * (D + E + 1), (2 * 12 + 3 * 3) * D * (E + 1)  # ten tokens fill three blocks
    assert counted(model, *QKV, gate=GATE) == H * (near + far)


def test_agent_and_soft_attention() -> None:
    agents = counted(lambda m, q, k, v: agent_attention.agent_attention(q, k, v, (2, 1), (3, 3), 0.5), *QKV)
    assert agents == H * 2 * (N * D + 2 * N * (D + E))
    query, value, marks = QKV[0], QKV[2], torch.randn(B, H, 3, D)
    soft = counted(lambda m, q, x, v: soft_attention.soft_attention(q, x, v, 5), query, marks, value)
    assert soft == H * (3 * (N + 3) * (D + E) + 3 * N * E + 2 * 5 * 3**3)


def test_layers_of_signs() -> None:
    weight = pack(torch.randn(6, D))
    factors = {"shift": torch.zeros(D), "scale": torch.ones(6), "bias": torch.zeros(6)}

    def linear(m: Call, x: torch.Tensor) -> torch.Tensor:
        return binary_linear(x, m.shift, m.weight, m.scale, m.bias)

    assert counted(linear, QKV[0], weight=weight, **factors) == H * N * D * 6

    def conv(m: Call, x: torch.Tensor) -> torch.Tensor:
        return binary_conv2d(x, m.shift, m.weight, m.scale, m.bias, (1, 1), (1, 1), (1, 1))

    taps = pack(torch.randn(6, 3, 3, D))
    assert counted(conv, torch.randn(1, D, 5, 7), weight=taps, **factors) == 6 * 5 * 7 * 9 * D


def test_torch_counts_the_bodies_alike() -> None:
    q, k, v = QKV
    marks = torch.randn(B, H, 3, D)
    learned = (MATRICES["wq"], None, MATRICES["wk"], None)
    bodies: dict[str, tuple[Callable[[], object], int]] = {
        "linear": (lambda: attend(q, k, v, "hedgehog-exp", False, *learned, None, None, None), H * 2 * N * 36),
        "hybrid": (lambda: hybrid_attention.attend(q, k, v, GATE, "relu", 4, 0.5), H * (12 * 12 * 9 + 33 * D * 5)),
        "soft": (lambda: soft_attention.attend(q, marks, v, 5), H * (39 * (D + E) + 30 * E + 270)),
    }
    for name, (body, macs) in bodies.items():
        with FlopCounterMode(display=False) as counter:
            body()
        assert counter.get_total_flops() == 2 * macs, name


def test_attention_of_bits() -> None:
    def product(m: Call, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return binary_matmul(q, k.mT, 0.0, 0.0, 1.0, False)

    assert counted(product, *QKV) == H * N * N * D

    def hashed(m: Call, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return hashed_attention(q, k, v, m.anchors, m.offset, m.planes)

    hashing = {"anchors": torch.randn(H, 5, D), "offset": torch.randn(H, 5), "planes": torch.randn(H, 6, 5)}
    distances, planes, sums = 2 * N * 5 * D, 2 * N * 5 * 6, (2 * E + 1) * N * 6
    assert counted(hashed, *QKV, **hashing) == H * (distances + planes + sums)


def test_four_bit_linear() -> None:
    def linear(m: Call, x: torch.Tensor) -> torch.Tensor:
        return fp4_linear(x, m.weight, m.scales, m.bias, 1.0, 16, 0)

    held = {"weight": torch.zeros(6, 16, dtype=torch.int8), "scales": torch.zeros(6, 2, dtype=torch.int8)}
    assert counted(linear, torch.randn(B, N, 32), **held, bias=torch.zeros(6)) == B * N * 32 * 6
