"""The kernel of binary linears in OpenVINO against the operator's torch reference, at every instruction set."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt.ops.binary_conv2d import binary_conv2d
from edgeopt.ops.binary_linear import binary_linear
from edgeopt.quant.binary import pack, signs, unpack
from edgeopt.targets.openvino.native_binary import thresholds

from . import openvino_kernels as openvino

pytestmark = openvino.requires_compiler
CASES = 40


class Layer(nn.Module):
    """A binary linear with random signs and factors."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shift = nn.Buffer(torch.randn(inputs) * 0.3)
        self.weight = nn.Buffer(pack(torch.randn(outputs, inputs)))
        self.scale = nn.Buffer(torch.rand(outputs) * inputs**-0.5)
        self.bias = nn.Buffer(torch.randn(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return binary_linear(x, self.shift, self.weight, self.scale, self.bias)


class Block(nn.Module):
    """Two layers with what may stand between and beside them."""

    def __init__(self, activation: str, residual: bool) -> None:
        super().__init__()
        self.up, self.down = Layer(70, 100), Layer(100, 70)
        self.activation, self.residual = activation, residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(x)
        y = functional.gelu(y) if self.activation == "gelu" else y.relu() if self.activation == "relu" else y
        y = self.down(y)
        return (x.abs() + y if self.residual else y) * 1.5


def panels(weight: torch.Tensor) -> torch.Tensor:
    padded = functional.pad(weight, (0, 0, 0, -len(weight) % 16))
    return padded.reshape(-1, 16, weight.shape[1]).mT.contiguous()


def case(rng: random.Random) -> tuple[list[int], int, int]:
    batch = rng.choice([[1], [7], [2, 5], [1, 50], [3, 1, 9]])
    return batch, rng.choice([1, 31, 32, 33, 64, 100, 300, 1100]), rng.choice([1, 8, 15, 16, 17, 40, 52, 64, 130])


def test_kernel_is_equal_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    for _ in range(CASES):
        batch, inputs, outputs = case(rng)
        layer, x = Layer(inputs, outputs), torch.randn(*batch, inputs)
        x[..., 0] = -layer.shift[0]  # zero counts as +1
        tensors = {
            "x": x,
            "shift": layer.shift,
            "weight": panels(layer.weight),
            "scale": layer.scale,
            "bias": layer.bias,
        }
        expected, activation = layer(x), rng.choice(["none", "relu"])
        if activation == "relu":
            expected = expected.relu()
        if rng.random() < 0.5:
            tensors["residual"] = torch.randn(*batch, outputs)
            expected = expected + tensors["residual"]
        attributes = {"roles": ",".join(tensors), "activation": activation, "inputs": inputs, "outputs": outputs}
        run = openvino.operator("BinaryLinear", attributes, list(tensors.values()))
        for level in openvino.levels(monkeypatch):
            assert torch.equal(run(), expected), (level, batch, inputs, outputs)


def test_bits_pass_between_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    for _ in range(CASES):
        batch, inputs, outputs = case(rng)
        layer, x, high = Layer(inputs, outputs), torch.randn(*batch, inputs), torch.randn(outputs)
        tensors = {
            "x_bits": pack(x),
            "weight": panels(layer.weight),
            "scale": layer.scale,
            "bias": layer.bias,
            "high": high,
        }
        y = signs(x) @ unpack(layer.weight, inputs).mT * layer.scale + layer.bias
        is_set = y >= high
        if rng.random() < 0.5:
            tensors["low"] = torch.where(torch.rand(outputs) < 0.5, -torch.inf, high - 1)
            is_set |= y <= tensors["low"]
        expected = pack(is_set * 2.0 - 1)
        attributes = {"roles": ",".join(tensors), "activation": "none", "inputs": inputs, "outputs": outputs}
        run = openvino.operator("BinaryLinear", attributes, list(tensors.values()), torch.int32)
        for level in openvino.levels(monkeypatch):
            assert torch.equal(run(), expected), (level, batch, inputs, outputs)


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_thresholds_are_where_the_sign_of_an_activation_changes(activation: str) -> None:
    shift = torch.cat([torch.tensor([0.0, -0.0, 1e-6, -1e-6, 0.1699, 0.17, 0.2, -5]), torch.randn(40) * 0.3])
    limits = {name: torch.from_numpy(limit) for name, limit in thresholds(activation, shift.numpy()).items()}
    y = torch.linspace(-8, 8, 20001)[:, None]
    function = {"none": lambda y: y, "relu": torch.relu, "gelu": functional.gelu}[activation]
    found = y >= limits["high"]
    near = (y - limits["high"]).abs() < 1e-6
    if "low" in limits:
        found |= y <= limits["low"]
        # Far out a float32 GELU goes to zero in steps.
        near |= (y - limits["low"]).abs() < 1e-2 * y.abs()
    assert ((function(y) + shift >= 0) == found)[~near].all()
    assert ("low" in limits) == (activation == "gelu") and near.float().mean() < 0.01


def test_gelu_is_close(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Layer(64, 1000), torch.randn(8, 64)
    layer.scale.uniform_(0, 0.3)
    tensors = {"x": x, "shift": layer.shift, "weight": panels(layer.weight), "scale": layer.scale, "bias": layer.bias}
    attributes = {"roles": ",".join(tensors), "activation": "gelu", "inputs": 64, "outputs": 1000}
    run = openvino.operator("BinaryLinear", attributes, list(tensors.values()))
    for _ in openvino.levels(monkeypatch):
        torch.testing.assert_close(run(), functional.gelu(layer(x)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_what_follows_is_fused(activation: str, residual: bool) -> None:
    block, x = Block(activation, residual), torch.randn(1, 9, 70)
    run, types = openvino.module(block, [x])
    assert "BinaryLinear" in types and not types & {"Relu", "Gelu", "Erf", "Add"}
    torch.testing.assert_close(run(), block(x), rtol=1e-5, atol=1e-5)


def test_a_value_that_is_read_twice_stays_float() -> None:
    class Twice(Block):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.up(x)
            return self.down(y.relu()) + y.sum(-1, keepdim=True)

    block, x = Twice("relu", False), torch.randn(1, 9, 70)
    run, types = openvino.module(block, [x])
    assert "Relu" in types
    torch.testing.assert_close(run(), block(x), rtol=1e-5, atol=1e-5)


class Convolution(nn.Module):
    """A binary convolution with random signs and factors."""

    def __init__(self, inputs: int, outputs: int, kernel: list[int], *window: list[int]) -> None:
        super().__init__()
        self.shift = nn.Buffer(torch.randn(inputs) * 0.3)
        self.weight = nn.Buffer(pack(torch.randn(outputs, *kernel, inputs)))
        self.scale = nn.Buffer(torch.rand(outputs) * inputs**-0.5)
        self.bias = nn.Buffer(torch.randn(outputs))
        self.window = window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return binary_conv2d(x, self.shift, self.weight, self.scale, self.bias, *self.window)

    def operands(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight, "scale": self.scale, "bias": self.bias}

    def attributes(self, operands: dict[str, torch.Tensor], activation: str) -> dict[str, object]:
        outputs, *kernel, _ = self.weight.shape
        window = dict(zip(("kernel", "strides", "padding", "dilations"), (kernel, *self.window), strict=True))
        pairs = {name: ",".join(map(str, pair)) for name, pair in window.items()}
        sizes = {"inputs": len(self.shift), "outputs": outputs}
        return {"roles": ",".join(operands), "activation": activation, **sizes, **pairs}


def convolution(rng: random.Random) -> tuple[Convolution, torch.Tensor]:
    channels, outputs = rng.choice([1, 3, 31, 32, 33, 64, 100]), rng.choice([1, 15, 16, 17, 33, 40])
    kernel, stride, padding, dilation = (
        [rng.choice(of) for _ in "yx"] for of in ([1, 2, 3, 5], [1, 2, 3], [0, 1, 3], [1, 2])
    )
    size = [rng.randint(d * (k - 1) + 1, 20) for k, d in zip(kernel, dilation, strict=True)]
    x = torch.randn(rng.choice([1, 2]), channels, *size)
    return Convolution(channels, outputs, kernel, stride, padding, dilation), x


def test_convolution_is_equal_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    for _ in range(CASES):
        layer, x = convolution(rng)
        operands = {"x": x, "shift": layer.shift, **layer.operands()}
        expected, activation = layer(x), rng.choice(["none", "relu"])
        if activation == "relu":
            expected = expected.relu()
        if rng.random() < 0.5:
            operands["residual"] = torch.randn_like(expected)
            expected = expected + operands["residual"]
        attributes = layer.attributes(operands, activation)
        run = openvino.operator("BinaryConv2d", attributes, list(operands.values()))
        for level in openvino.levels(monkeypatch):
            assert torch.equal(run(), expected), (level, x.shape, attributes)


def test_bits_pass_between_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    for _ in range(CASES):
        layer, x = convolution(rng)
        layer.shift.zero_()
        high = torch.randn(len(layer.bias))
        bits = pack(x.movedim(1, -1)).movedim(-1, 1).contiguous()
        operands = {"x_bits": bits, **layer.operands(), "high": high, "low": high - 1}
        y = layer(x).movedim(1, -1)
        expected = pack(((y >= high) | (y <= high - 1)) * 2.0 - 1).movedim(-1, 1)
        run = openvino.operator(
            "BinaryConv2d", layer.attributes(operands, "none"), list(operands.values()), torch.int32
        )
        for level in openvino.levels(monkeypatch):
            assert torch.equal(run(), expected), (level, x.shape, layer.attributes(operands, "none"))


@pytest.mark.parametrize("activation", [nn.Identity(), nn.ReLU(), nn.GELU()])
def test_what_follows_a_convolution_is_fused(activation: nn.Module) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Convolution(40, 50, [3, 3], [1, 2], [1, 1], [1, 1])
            self.second = Convolution(50, 50, [3, 3], [1, 1], [1, 1], [1, 1])
            self.third = Convolution(50, 20, [1, 1], [1, 1], [0, 0], [1, 1])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = self.first(x)
            return self.third(first + activation(self.second(first))) * 1.5

    class Chain(Block):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = activation(self.third(activation(self.second(activation(self.first(x)))))) * 1.5
            return y

    x = torch.randn(1, 40, 9, 8)
    for called in (Block(), Chain()):
        run, types = openvino.module(called, [x])
        assert "BinaryConv2d" in types and not types & {"Relu", "Gelu", "Erf", "Add"}
        torch.testing.assert_close(run(), called(x), rtol=1e-5, atol=1e-5)
