"""Batches, groups and windows: leading axes of every size, bit by bit as the reference, and right in the program.

The reference has the layout of the library; the quantized program in torch knows nothing of it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.errors import UserError
from edgeopt.ir.program import Program
from edgeopt.plugins.registry import resolve
from edgeopt.quant.codebook import CODEBOOKS
from edgeopt.targets.mcu import MicroOptions, expected
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.lower.lower import SCHEME, lower_program
from samples import digits_vit
from tests.qemu import requires_qemu

from .float64 import layers_of, worst
from .quantized import firmware_of, quantize_over
from .test_signs import Maps, Signs

SHIFTS = MicroOptions(requantization="shift")


def initialized(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


class Windows(nn.Module):
    """Attention inside windows of two by two, which are cut out of a map and put back."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = digits_vit.Attention(width, heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        windows = x.reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        y = self.attention(windows).reshape(n, h // 2, w // 2, 2, 2, c)
        return y.permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


class OfMaps(nn.Module):
    """Everything that goes over maps: windows, depthwise filters, pools, a residual sum, flattened layers, means."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        width = int(rng.integers(3, 9))
        self.stem, self.again = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, (1, 3), padding=(0, 1))
        self.depthwise = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width)
        self.point, self.flat, self.head = nn.Conv2d(width, 5, 1), nn.Linear(5 * 4, 6), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.again(x) + x)
        x = torch.max_pool2d(torch.relu(self.depthwise(x)), 2)
        y = self.point(x)
        return y, self.flat(y.flatten(1)), self.head(y.mean((2, 3))), nn.functional.avg_pool2d(x, (1, 2))


class OfRows(nn.Module):
    """Everything that goes over the last dimension, behind any leading axes."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        heads, wide = int(rng.integers(1, 4)), int(rng.integers(1, 30))
        self.linear, self.norm, self.rms = nn.Linear(8, 6 * heads), nn.LayerNorm(6 * heads), nn.RMSNorm(8)
        self.attention, self.windows = digits_vit.Attention(6 * heads, heads), Windows(8, 2)
        self.last, self.token = nn.Linear(8, wide), nn.Parameter(torch.zeros(1, 1, 8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tokens = x.flatten(0, -3)
        y = self.norm(self.linear(tokens))
        windows = self.windows(tokens.unflatten(1, (2, -1)))
        return (
            self.attention(y) + y,
            torch.softmax(self.last(nn.functional.gelu(self.rms(x))), -1).transpose(-1, -2),
            self.linear(tokens).mean(1),
            torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1)[:, :3],
            nn.functional.layer_norm(x, (8,)),
            windows,
        )


class OfSigns(nn.Module):
    """Layers of signs along the last dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 24), nn.Linear(7, 5)
        self.second, self.third = Signs(24, 20), Signs(20, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.third(torch.relu(self.second(self.first(x)))))


def assert_right(program: Program, device: str, folder: Path, x: np.ndarray, options: MicroOptions) -> IntegerGraph:
    """The library equals the reference bit by bit, and every layer of that float64 to what its arithmetic may lose."""
    graph, refused = lower_program(program)
    assert refused == []
    target = resolve(f"mcu:{device}")
    folder.mkdir()
    target.compile(program, folder, options)
    firmware = firmware_of(target, folder)
    (source,) = firmware.network.inputs
    q = source.to_int8(x)
    inputs = {program.inputs[0].name: x}
    wanted, real = graph.run({graph.inputs[0]: q[0]}), program.run(inputs)
    got = firmware.run({source.name: q}).outputs
    firmware.close()
    for port, tensor in zip(firmware.network.outputs, graph.outputs, strict=True):
        np.testing.assert_array_equal(got[port.name][0], wanted[tensor], err_msg=f"{port.name} is not the reference's")
        assert port.to_real(got[port.name]).shape == real[port.name].shape
    layers = layers_of(program)
    lost = worst(layers, expected(layers, inputs), inputs)
    assert max(lost.values()) <= 1, lost
    return graph


def batches(rng: np.random.Generator, *shape: int) -> list[np.ndarray]:
    return [rng.normal(size=shape).astype(np.float32) for _ in range(4)]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_of_maps(batch: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(batch)
    x = batches(rng, batch, 3, 8, int(rng.integers(8, 10)))
    graph = assert_right(quantize_over(initialized(OfMaps(rng)), x), "host-c", tmp_path / "out", x[0], MicroOptions())
    assert {node.samples for node in graph.nodes} == {1, batch}


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_leading_axes_of_rows(axes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(axes)
    leading = rng.integers(1, 4, axes).tolist()
    x = batches(rng, *leading, 4, 8)
    program = quantize_over(initialized(OfRows(rng)), x)
    assert_right(program, "host-c", tmp_path / "out", x[0], MicroOptions(schedule=("tiles", "heads")[axes % 2]))


@pytest.mark.parametrize("precision", ["int4", "fp4"])
def test_batches_with_weights_in_four_bits(precision: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    x = batches(rng, 2, 3, 8, 8)
    program = quantize_over(initialized(OfMaps(rng)), x, replace(SCHEME, codebook=CODEBOOKS[precision]))
    assert_right(program, "host-c", tmp_path / "out", x[0], MicroOptions(precision=precision))


def test_batches_with_scales_that_are_powers_of_two(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    x = batches(rng, 3, 3, 8, 8)
    program = quantize_over(initialized(OfMaps(rng)), x, replace(SCHEME, shifts=True))
    assert_right(program, "host-c", tmp_path / "out", x[0], SHIFTS)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 24, 3, 8)], ids=str)
def test_batches_of_signs(shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = batches(np.random.default_rng(6), *shape)
    program = quantize_over((Maps() if shape[-2:] == (8, 8) else OfSigns()).eval(), x)
    assert_right(program, "host-c", tmp_path / "out", x[0], MicroOptions())


def test_a_session_returns_what_is_expected_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    x = batches(rng, 2, 3, 8, 8)
    program = quantize_over(initialized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3))), x)
    target, inputs = resolve("mcu:host-c"), {program.inputs[0].name: x[0]}
    target.compile(program, tmp_path, MicroOptions())
    session = target.open(tmp_path, MicroOptions())
    got = session.run(inputs)
    session.close()
    for name, values in expected(program, inputs).items():
        np.testing.assert_array_equal(got[name], values)


@requires_qemu
@pytest.mark.parametrize("device", [pytest.param("cortex-m4", marks=pytest.mark.slow), "cortex-m55"])
def test_batches_on_cores(device: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    x = batches(rng, 2, 3, 8, 8)
    assert_right(quantize_over(initialized(OfMaps(rng)), x), device, tmp_path / "out", x[0], MicroOptions())


def test_a_batch_is_not_streamed(tmp_path: Path) -> None:
    x = batches(np.random.default_rng(8), 2, 3, 8, 8)
    program = quantize_over(initialized(nn.Conv2d(3, 4, 3)), x)
    with pytest.raises(UserError, match="cannot be streamed: it is a batch of 2 maps"):
        resolve("mcu:host-c").compile(program, tmp_path, MicroOptions(stream_input=True))
