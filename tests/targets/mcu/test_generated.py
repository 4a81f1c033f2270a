"""What TVM compiles between integers: operators that its C lacked, results without a call, parts of tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import MicroOptions
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.nodes.generated import Generated

from .float64 import layers_of, worst
from .quantized import quantize_over
from .test_leading_axes import batches, initialized
from .test_lower import requires_tvm

pytestmark = requires_tvm


class InFloat(nn.Module):
    """Absolute values, norms of vectors, ones, codes of one hot: each between two layers in integers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.first(x)
        ones = torch.ones_like(y[..., :2])
        return (
            self.last(functional.normalize(y, dim=-1)),
            self.last(functional.logsigmoid(y) * y.abs().sum(-1, keepdim=True)),
            self.last(torch.cat([ones, y[..., 2:]], -1)),
            self.last(functional.one_hot(y.argmax(-1), 6).float()),
        )


class Rotated(nn.Module):
    """What LLaMA has: positions turned into halves of channels (RoPE), and a gate by half of them (SwiGLU)."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.gated, self.last = nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(8, 4)
        angles = torch.arange(4.0)[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])
        self.cos = nn.Buffer(angles.cos().repeat(1, 2))
        self.sin = nn.Buffer(angles.sin().repeat(1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(x) + x
        first, second = y.chunk(2, -1)
        turned = y * self.cos + torch.cat([-second, first], -1) * self.sin
        gate, value = self.gated(turned).split(8, -1)
        return self.last(functional.silu(gate) * value)


@pytest.mark.parametrize("name", ["in float", "rotated"])
def test_the_library_computes_what_the_program_does(name: str, tmp_path: Path) -> None:
    module = {"in float": InFloat, "rotated": Rotated}[name]()
    x = batches(np.random.default_rng(0), 2, 4, 8)
    program = quantize_over(initialized(module), x)
    graph, refused = lower_program(program)
    assert refused == [] and any(isinstance(node, Generated) for node in graph.nodes)
    target, layers, inputs = resolve("mcu:host-c"), layers_of(program), {program.inputs[0].name: x[0]}
    target.compile(layers, tmp_path, MicroOptions())
    session = target.open(tmp_path, MicroOptions())
    lost = worst(layers, session.run(inputs), inputs)
    session.close()
    assert max(lost.values()) <= 1, lost
