"""Which steps run tile by tile, and what of them exists as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.errors import UserError
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import LIBRARY, MicroOptions
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.plan.arena import place
from edgeopt.targets.mcu.plan.fuse import fuse_residuals
from edgeopt.targets.mcu.plan.kernels import Step, choose_kernels
from edgeopt.targets.mcu.plan.schedule import TILE, Loop, schedule, stream
from edgeopt.targets.mcu.runtime.firmware import Firmware

from .quantized import quantize


class Mlp(nn.Module):
    """A convolution, then what transformers do to every token: a norm, two linears, a residual."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm(8)
        self.up, self.down, self.head = nn.Linear(8, 32), nn.Linear(32, 8), nn.Conv2d(8, 2, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(image).permute(0, 2, 3, 1)
        tokens = tokens + self.down(nn.functional.gelu(self.up(self.norm(tokens))))
        return self.head(tokens.permute(0, 3, 1, 2))


def steps(module: nn.Module, *shape: int) -> tuple[IntegerGraph, list[Step]]:
    samples = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    graph = fuse_residuals(lower_program(quantize(module, samples))[0])
    return graph, choose_kernels(graph, ("scalar",))


def test_the_hidden_values_of_an_mlp_exist_for_a_tile() -> None:
    graph, calls = steps(Mlp(), 3, 8, 8)
    scheduled = schedule(graph, calls)
    assert [type(step) for step in scheduled] == [Step, Loop, Step]
    loop = scheduled[1]
    assert isinstance(loop, Loop)
    assert [step.node.op for step in loop.steps] == ["norm", "conv2d", "table", "conv2d"]
    assert (loop.positions, loop.tile) == (64, TILE)
    assert loop.scratch_bytes <= TILE * (8 + 32 + 32)
    tokens = 64 * 8
    assert place(graph, scheduled).arena_bytes <= 2 * tokens < place(graph, calls).arena_bytes


def test_what_is_read_later_exists_as_a_whole() -> None:
    class Later(Mlp):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            normed = self.norm(self.stem(image).permute(0, 2, 3, 1))
            mixed = self.down(nn.functional.gelu(self.up(normed)))
            return self.head(mixed.permute(0, 3, 1, 2)) + self.head(normed.permute(0, 3, 1, 2))

    graph, calls = steps(Later(), 3, 8, 8)
    (loop,) = [step for step in schedule(graph, calls) if isinstance(step, Loop)]
    assert len(loop.writes) == 2
    assert not set(loop.writes) & loop.hidden


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 3, 0)])
def test_a_streamed_input_takes_the_rows_under_one_row(kernel: int, stride: int, padding: int, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, kernel, stride, padding), nn.Conv2d(4, 2, 1))
    graph, calls = steps(module, 3, 12, 10)
    loop = stream(graph, calls)
    assert loop.rows is not None and loop.rows.bytes == kernel * 10 * 3
    assert graph.inputs[0] not in (*loop.reads, *loop.writes)
    assert place(graph, schedule(graph, calls, streamed=True)).arena_bytes < place(graph, calls).arena_bytes

    samples = np.random.default_rng(0).normal(size=(4, 3, 12, 10)).astype(np.float32)
    target = resolve("mcu:host-c")
    target.compile(quantize(module, samples), tmp_path, MicroOptions(stream_input=True))
    firmware = Firmware(tmp_path / LIBRARY, target.device, "host")
    q = firmware.network.inputs[0].to_int8(samples)
    (got,) = firmware.run({graph.inputs[0]: q}).outputs.values()
    firmware.close()
    expected = [graph.run({graph.inputs[0]: sample})[graph.outputs[0]] for sample in q]
    np.testing.assert_array_equal(got, np.stack(expected))


def test_an_input_that_is_read_twice_is_not_streamed() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.a(image) + self.b(image)

    graph, calls = steps(Twice(), 3, 8, 8)
    with pytest.raises(UserError, match="cannot be streamed"):
        stream(graph, calls)
