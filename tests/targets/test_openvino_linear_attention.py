"""The kernel of linear attention in OpenVINO against the operator's torch reference, at every instruction set."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from edgeopt.ops.feature_maps import LEARNED, MAPS
from edgeopt.ops.linear_attention import epsilon, linear_attention

from . import openvino_kernels as openvino

pytestmark = openvino.requires_compiler
BOUND = 1e-5  # of the largest value
CASES = 8


class Attention(nn.Module):
    """What is transposed on its way in (q, k, v) and out (o), and the operator between."""

    def __init__(self, kind: str, tokens_first: str = "") -> None:
        super().__init__()
        self.kind, self.tokens_first = kind, tokens_first

    def forward(self, *qkv: torch.Tensor) -> torch.Tensor:
        operands = (x.transpose(1, 2) if n in self.tokens_first else x for n, x in zip("qkv", qkv, strict=True))
        out = linear_attention(*operands, self.kind)
        return (out.transpose(1, 2) if "o" in self.tokens_first else out) * 2


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= BOUND, float(error)


def parameters(kind: str, heads: int, size: int, rng: random.Random) -> dict[str, torch.Tensor]:
    if kind not in LEARNED:
        return {}
    mapped = rng.choice([3, 8, 21])
    found = {}
    for side in ("query", "key"):
        found[f"{side}_weight"] = torch.randn(heads, size, mapped) * size**-0.5
        if rng.random() < 0.5:
            found[f"{side}_bias"] = torch.randn(heads, 1, mapped)
    return found


def check(
    kind: str, causal: bool, tensors: dict[str, torch.Tensor], grid: list[int], patch: pytest.MonkeyPatch
) -> None:
    attributes = {
        "feature_map": kind,
        "roles": ",".join(tensors),
        "tokens_first": "",
        "grid": ",".join(map(str, grid)),
        "causal": int(causal),
        "epsilon": epsilon(kind),
    }
    expected = linear_attention(**tensors, feature_map=kind, causal=causal, grid=grid or None)
    run = openvino.operator("LinearAttention", attributes, list(tensors.values()))
    for _ in openvino.levels(patch):
        assert_close(run(), expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", sorted(MAPS))
def test_kernel_equals_the_reference(kind: str, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(f"{kind}{causal}")
    for _ in range(CASES):
        batch, heads, size, values = rng.choice([1, 2]), rng.choice([1, 3]), rng.randint(1, 40), rng.randint(1, 90)
        queries = rng.choice([1, 7, 48, 49, 130])
        keys = queries if causal else rng.choice([1, 5, 64, 600])
        sizes = {"query": (queries, size), "key": (keys, size), "value": (keys, values)}
        tensors = {name: torch.randn(batch, heads, *shape) for name, shape in sizes.items()}
        check(kind, causal, tensors | parameters(kind, heads, size, rng), [], monkeypatch)


@pytest.mark.parametrize("size", [5, 64, 70])
@pytest.mark.parametrize("zeros", [0.0, 0.2, 0.5, 0.97])
def test_zeros_that_relu_leaves_are_left_out(zeros: float, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"query": (101, size), "key": (130, size), "value": (130, 90)}
    tensors = {name: torch.randn(1, 2, *shape) for name, shape in sizes.items()}
    for name in ("query", "key"):
        tensors[name] = tensors[name].abs() * torch.where(torch.rand(sizes[name]) < zeros, -1.0, 1.0)
    tensors["query"][..., 3, :] = -1.0  # a token that attends to nothing
    check("relu", False, tensors, [], monkeypatch)
    check("relu", True, tensors | {"query": tensors["key"]}, [], monkeypatch)


@pytest.mark.parametrize(
    ("grid", "before", "kernel"), [((3, 5), 1, 3), ((14, 14), 0, 5), ((1, 9), 2, 5), ((40, 30), 0, 3)]
)
def test_depthwise_branch(grid: tuple[int, int], before: int, kernel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, channels = before + grid[0] * grid[1], 21
    tensors = {name: torch.randn(2, 2, tokens, size) for name, size in (("query", 8), ("key", 8), ("value", channels))}
    convolution = {"depthwise": torch.randn(channels, 1, kernel, kernel), "depthwise_bias": torch.randn(channels)}
    check("relu", False, tensors | convolution, list(grid), monkeypatch)


@pytest.mark.parametrize("tokens_first", ["qkvo", "v", "qo", "k"])
def test_transposes_become_strides(tokens_first: str) -> None:
    shapes = [(2, 50, 3, 16) if name in tokens_first else (2, 3, 50, 16) for name in "qkv"]
    inputs, called = [torch.randn(shape) for shape in shapes], Attention("relu", tokens_first)
    run, types = openvino.module(called, inputs)
    assert "LinearAttention" in types and "Transpose" not in types
    assert_close(run(), called(*inputs))


def test_threads_change_nothing() -> None:
    inputs, called = [torch.randn(1, 3, 1500, 16) for _ in "qkv"], Attention("elu")
    one, two = (openvino.module(called, inputs, threads)[0]() for threads in (1, 2))
    assert torch.equal(one, two)


def test_what_the_kernel_does_not_cover_is_written_out() -> None:
    inputs, called = [torch.randn(1, 2, 9, 4) for _ in "qkv"], Attention("flow")
    run, types = openvino.module(called, inputs)
    assert "LinearAttention" not in types
    assert_close(run(), called(*inputs))
