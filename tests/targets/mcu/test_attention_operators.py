"""Our attention operators between int8 layers: linear ones in their parts, the others compiled by TVM as a whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.ir.program import Program
from edgeopt.ops.agent_attention import agent_attention
from edgeopt.ops.hashed_attention import hashed_attention
from edgeopt.ops.hybrid_attention import hybrid_attention
from edgeopt.ops.linear_attention import linear_attention
from edgeopt.ops.soft_attention import soft_attention
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import MicroOptions
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.nodes.depthwise_conv2d import DepthwiseConv2d
from edgeopt.targets.mcu.nodes.generated import Generated
from edgeopt.targets.mcu.nodes.matmul import MatMul
from samples import digits_vit
from tests.qemu import requires_qemu

from .float64 import layers_of, worst
from .quantized import quantize

pytestmark = pytest.mark.skipif(find_spec("tvm") is None, reason="TVM is not installed")
WHOLE = ("hybrid", "agent", "soft", "hashed")
HEADS, SIZE = 2, 12

Operands = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Attention(digits_vit.Attention):
    """One of the forms, by its operator."""

    def __init__(self, form: str) -> None:
        super().__init__(HEADS * SIZE, HEADS)
        self.form = form
        self.query_map, self.key_map = (nn.Parameter(torch.eye(SIZE).repeat(HEADS, 1, 1) * 0.5) for _ in range(2))
        self.windows = nn.Conv2d(SIZE, SIZE, 2, 2, bias=False)
        self.anchors, self.planes = (nn.Parameter(torch.randn(HEADS, *shape)) for shape in ((9, SIZE), (8, 9)))
        self.offset = nn.Parameter(torch.full((HEADS, 9), 0.5))
        self.gate, self.filters = nn.Parameter(torch.zeros(HEADS, 1, 1)), nn.Parameter(torch.randn(SIZE, 1, 5, 5) / 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        operands = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(self.attend(*operands).transpose(1, 2).flatten(2))

    def landmarks(self, q: torch.Tensor) -> torch.Tensor:
        """Of each window of the grid one, by a convolution whose batch is the heads."""
        maps = self.windows(q.transpose(-1, -2).reshape(-1, SIZE, 4, 4))
        return maps.reshape(-1, HEADS, SIZE, 4).transpose(-1, -2)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        maps = (self.query_map, None, self.key_map)
        whole: dict[str, Callable[[], torch.Tensor]] = {
            "hybrid": lambda: hybrid_attention(q, k, v, self.gate, "hedgehog-joint-softmax", 4, 0.3, False, *maps),
            "agent": lambda: agent_attention(q, k, v, [2, 2], [4, 4], 0.3),
            "soft": lambda: soft_attention(q, self.landmarks(q), v, 12, True),
            "hashed": lambda: hashed_attention(q, k, v, self.anchors, self.offset, self.planes),
        }
        if self.form in whole:
            return whole[self.form]()
        if self.form == "sla":
            return linear_attention(q, k, v, "relu", depthwise=self.filters, grid=(4, 4))
        learned = maps if self.form.startswith("hedgehog") else (None,) * 3
        return linear_attention(q, k, v, self.form, False, *learned)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 1, 8, 8)).astype(np.float32)


@cache
def program(form: str) -> Program:
    torch.manual_seed(0)
    module = digits_vit.DigitsVit(width=HEADS * SIZE, heads=HEADS, depth=1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    module.blocks[0].attention = Attention(form)
    return quantize(module.eval(), images(8))


@pytest.mark.parametrize("form", ["elu", "sla"])
def test_linear_attention_is_products_in_integers_and_the_rest_in_float(form: str) -> None:
    graph, refused = lower_program(program(form))
    kinds = [type(node) for node in graph.nodes]
    assert refused == [] and kinds.count(MatMul) == 2 and Generated in kinds
    assert kinds.count(DepthwiseConv2d) == (form == "sla")


@pytest.mark.parametrize("form", ["hedgehog-joint-softmax", "hybrid", "agent", "soft", "hashed"])
@requires_qemu
def test_the_library_computes_what_the_program_does(form: str, tmp_path: Path) -> None:
    whole = [node for node in lower_program(program(form))[0].nodes if isinstance(node, Generated)]
    assert (len(whole) == 1) is (form in WHOLE)
    target, layers = resolve("mcu:cortex-m7"), layers_of(program(form))
    artifact = target.compile(layers, tmp_path, MicroOptions())
    assert any("TVM" in fallback.reason for fallback in artifact.fallbacks)
    x = {layers.inputs[0].name: images(1, seed=2)}
    session = target.open(tmp_path, MicroOptions())
    lost = worst(layers, session.run(x), x)
    session.close()
    assert max(lost.values()) <= 1, lost
