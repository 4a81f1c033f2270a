"""Layers of signs on microcontrollers: bits pass between them, int8 goes in and comes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt.ir.program import Program
from edgeopt.ops.binary_conv2d import binary_conv2d
from edgeopt.ops.binary_linear import binary_linear
from edgeopt.quant.binary import pack
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.plan.fuse import fuse_residuals
from edgeopt.targets.mcu.plan.kernels import choose_kernels
from edgeopt.targets.mcu.runtime.network import Network
from tests.qemu import skip_without_qemu

from .quantized import quantize
from .test_lower import assert_float64
from .test_target import CORES, assert_equals_the_reference, compiled


class Signs(nn.Module):
    """A layer of signs with random factors, some scales negative, as BatchNorm leaves them."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 0, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        shape = (outputs, kernel, kernel, inputs) if kernel else (outputs, inputs)
        self.geometry = [stride] * 2, [padding] * 2, [1, 1]
        self.is_conv, size = kernel > 0, inputs * max(kernel, 1) ** 2
        self.shift = nn.Buffer(torch.randn(inputs) * 0.3)
        self.weight = nn.Buffer(pack(torch.randn(shape)))
        self.scale = nn.Buffer(torch.randn(outputs) * size**-0.5)
        self.bias = nn.Buffer(torch.randn(outputs) * 0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        factors = self.shift, self.weight, self.scale, self.bias
        return binary_conv2d(x, *factors, *self.geometry) if self.is_conv else binary_linear(x, *factors)


class Maps(nn.Module):
    """A stem in int8, bits through a pool and a GELU whose sign turns once, a residual sum in int8, a head in int8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 33, 3, padding=1)
        self.first, self.second = Signs(33, 40, 3, padding=1), Signs(40, 33, 3, stride=2, padding=1)
        self.third, self.fourth = Signs(33, 33, 1), Signs(33, 33, 2, padding=1)
        self.second.shift.copy_(-self.second.shift.abs())  # GELU turns back below zero only
        self.head = nn.Linear(33, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(torch.relu(self.stem(image)), 2, stride=1)
        x = self.second(functional.gelu(self.first(x)))
        y = self.third(torch.max_pool2d(torch.relu(x), 2, stride=1, padding=1))
        y = torch.relu(y) + torch.relu(self.third(y))
        return self.head(torch.relu(self.fourth(y)).mean((2, 3)))


class Tokens(nn.Module):
    """Linears of signs for each token, after a norm, one after the other, and of a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm, self.last = nn.Linear(12, 20), nn.LayerNorm(20), nn.Linear(20, 6)
        self.up, self.down, self.whole = Signs(20, 70), Signs(70, 20), Signs(5 * 6, 9)
        self.head = nn.Linear(9, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.embed(image)
        x = x + self.down(functional.hardtanh(self.up(self.norm(x))))
        return self.head(self.whole(self.last(x).flatten(1)))


MODELS = {"maps": (Maps, (3, 9, 8)), "tokens": (Tokens, (5, 12))}


def program_of(name: str) -> tuple[Program, np.ndarray]:
    module, shape = MODELS[name]
    samples = np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32)
    return quantize(module(), samples), samples


@pytest.mark.parametrize("name", MODELS)
def test_integers_are_those_of_float64(name: str) -> None:
    program, _ = program_of(name)
    assert lower_program(program)[1] == []
    assert_float64(program)


@pytest.mark.parametrize("device", CORES)
@pytest.mark.parametrize("name", MODELS)
def test_library_equals_the_integer_reference(name: str, device: str, tmp_path: Path) -> None:
    skip_without_qemu(device)
    program, samples = program_of(name)
    assert_equals_the_reference(program, device, samples[:4], tmp_path)


def test_bits_pass_between_layers_and_a_weight_takes_one(tmp_path: Path) -> None:
    program, _ = program_of("maps")
    graph = fuse_residuals(lower_program(program)[0])
    signs = [node for node in graph.nodes if node.dtype == "b1"]
    # The result of the third layer is read as int8 and as signs.
    assert [node.op for node in signs] == [
        "sign", "max_pool2d", "conv2d", "conv2d", "max_pool2d", "conv2d", "conv2d", "conv2d", "sign", "conv2d"
    ]  # fmt: skip
    assert graph.tensors[signs[2].output].shape == (8, 7, 8)  # 40 channels are two words
    (step,) = (step for step in choose_kernels(graph, ("dsp",)) if step.node is signs[2])
    assert step.needs.packed.nbytes == 40 * (9 * 8 + 4)  # 33 inputs are two words
    compiled(program, "host-c", tmp_path)
    layers = {layer.name: layer for layer in Network.read(tmp_path / "network").layers}
    assert layers[signs[2].name].macs == 8 * 7 * 40 * 33 * 9


def _layer(channels: int = 4, **factors: torch.Tensor) -> Signs:
    layer = Signs(channels, 5, 3)
    for name, value in factors.items():
        layer.get_buffer(name).copy_(value)
    return layer


class Between(nn.Module):
    """A stem in int8 and a layer of signs, something in between; a head in int8, something in between."""

    def __init__(self, between: Any, layer: Signs | None = None, after: Any = torch.relu) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.signs, self.head = nn.Conv2d(3, 4, 1), layer or _layer(), nn.Conv2d(5, 2, 1)
        self.between, self.after = between, after

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.after(self.signs(self.between(self.stem(image)))))


class Dilated(Signs):
    """A layer whose taps lie apart."""

    def __init__(self) -> None:
        super().__init__(4, 5, 3)
        self.geometry = [1, 1], [0, 0], [2, 2]


REFUSED = {
    "is not a comparison with one number": lambda: Between(functional.gelu, _layer(shift=torch.tensor(0.1))),
    "turns from \\+ to - as it grows": lambda: Between(torch.neg),
    "what follows a max pool does not grow with it": lambda: Between(lambda x: -torch.max_pool2d(x, 2)),
    "differs from position to position": lambda: Between(lambda x: x + torch.arange(64.0).reshape(8, 8)),
    "neither int8 nor goes value by value": lambda: Between(lambda x: functional.pad(x, (1, 1))),
    "a max pool with dilation": lambda: Between(lambda x: torch.max_pool2d(x, 2, dilation=2)),
    "moves values on their way to a sign": lambda: Between(lambda x: torch.tanh(x).permute(0, 1, 3, 2)),
    "dilation \\(2, 2\\)": lambda: Between(torch.relu, Dilated()),
    "leave the integers' range": lambda: Between(torch.relu, _layer(scale=torch.zeros(5))),
    "what TVM compiles has no layers of signs": lambda: Between(
        torch.relu, after=lambda y: functional.group_norm(y, 1)
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusals_name_the_reason(reason: str) -> None:
    samples = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32) * 3
    _, refused = lower_program(quantize(REFUSED[reason](), samples))
    assert any(re.search(reason, placement.reason) for placement in refused), refused
