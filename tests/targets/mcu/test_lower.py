"""From quantized programs to integers: structure, arithmetic, and every refusal with its reason."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.ir.program import Program
from edgeopt.plugins.testing import to_program
from edgeopt.targets.mcu import expected
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.nodes.avg_pool2d import AvgPool2d
from edgeopt.targets.mcu.nodes.conv2d import Conv2d
from edgeopt.targets.mcu.nodes.depthwise_conv2d import DepthwiseConv2d
from edgeopt.targets.mcu.nodes.generated import Generated
from edgeopt.targets.mcu.nodes.linear import Linear
from edgeopt.targets.mcu.nodes.max_pool2d import MaxPool2d
from edgeopt.targets.mcu.nodes.table import Table
from edgeopt.targets.mcu.plan.fuse import fuse_residuals
from tests.typed import fixed_shape

from .float64 import layers_of, worst
from .quantized import quantize

requires_tvm = pytest.mark.skipif(find_spec("tvm") is None, reason="TVM is not installed")


def lowered(module: nn.Module, *shape: int) -> tuple[Program, IntegerGraph]:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    program = quantize(module, np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32))
    graph, refused = lower_program(program)
    assert refused == []
    return program, graph


def assert_float64(program: Program) -> None:
    """Every layer in integers is float64's to what its arithmetic may lose."""
    layers, (spec,) = layers_of(program), program.inputs
    x = {spec.name: np.random.default_rng(1).normal(size=fixed_shape(spec)).astype(np.float32)}
    lost = worst(layers, expected(layers, x), x)
    assert lost and max(lost.values()) <= 1, lost


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        return torch.relu(self.third(torch.relu(self.second(y))) + y)


MODELS = {
    "conv-relu": nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU()),
    "conv-relu6": nn.Sequential(nn.Conv2d(3, 8, (2, 3), bias=False), nn.ReLU6()),
    "padded-depthwise": nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 3, 3, stride=2, groups=3)),
    "pools": nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    "flattened-map": nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)),
    "gelu-table": nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 2, 1)),
    "hard-swish-table": nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)),
    "norm-of-rows": nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(6), nn.Conv2d(4, 2, 1)),
    "softmax": nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.Softmax(dim=1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_integers_are_those_of_float64(name: str) -> None:
    program, _ = lowered(MODELS[name], 3, 8, 8)
    assert_float64(program)


def test_a_residual_sum_goes_into_its_convolution() -> None:
    program, graph = lowered(Residual(), 4, 8, 8)
    fused = fuse_residuals(graph)
    assert [type(node) for node in fused.nodes] == [Conv2d, Conv2d, Conv2d]
    last = fused.nodes[2]
    assert isinstance(last, Conv2d) and last.residual is not None
    assert_float64(program)
    x = np.random.default_rng(2).integers(-128, 128, (8, 8, 4)).astype(np.int8)
    out = graph.outputs[0]
    np.testing.assert_array_equal(graph.run({graph.inputs[0]: x})[out], fused.run({fused.inputs[0]: x})[out])


def test_a_sum_whose_operand_is_read_later_is_not_fused() -> None:
    class Later(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.first(x))
            return torch.relu(self.second(y) + y) + y  # the convolution itself reads y, and so does the last sum

    _, graph = lowered(Later(), 4, 8, 8)
    assert [node.op for node in fuse_residuals(graph).nodes].count("add") == 2


class Mish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.second(y * torch.tanh(torch.log(1 + torch.exp(y))) / 2)


def test_a_chain_of_pointwise_operators_is_one_table() -> None:
    program, graph = lowered(Mish(), 3, 8, 8)
    assert [type(node) for node in graph.nodes] == [Conv2d, Table, Conv2d]
    assert_float64(program)


def test_nodes_are_of_the_kinds_that_kernels_have() -> None:
    _, graph = lowered(MODELS["padded-depthwise"], 3, 8, 8)
    (depthwise,) = graph.nodes
    assert isinstance(depthwise, DepthwiseConv2d) and depthwise.window.padding == (0, 0, 1, 1)
    _, graph = lowered(MODELS["pools"], 3, 8, 8)
    assert [type(node) for node in graph.nodes] == [MaxPool2d, Conv2d, AvgPool2d, Linear]


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.a(x) * torch.sigmoid(self.b(x)))


LEFT_TO_TVM = {
    "no kernel": nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)),
    "product": Gate(),
    "dilation": nn.Conv2d(3, 4, 3, dilation=2),
    "groups": nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU()),
    "ceil_mode": nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(4, ceil_mode=True)),
    "differ in size": nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(4)),
    "other dimension": nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(dim=1)),
}
REASONS = {"product": "no kernel"}


@pytest.mark.parametrize("name", LEFT_TO_TVM)
def test_without_tvm_what_no_kernel_takes_is_refused_with_a_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    samples = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    _, refused = lower_program(quantize(LEFT_TO_TVM[name], samples))
    assert len(refused) == 1
    assert REASONS.get(name, name) in refused[0].reason
    assert "TVM, which would compile it, is not installed" in refused[0].reason


@requires_tvm
@pytest.mark.parametrize("name", LEFT_TO_TVM)
def test_tvm_compiles_what_no_kernel_takes(name: str) -> None:
    program, graph = lowered(LEFT_TO_TVM[name], 3, 8, 8)
    assert [type(node) for node in graph.nodes].count(Generated) == 1
    assert_float64(program)
    code = next(node.code for node in graph.nodes if isinstance(node, Generated))
    assert "TVM" not in code.functions and code.calls


BEYOND_THE_GEOMETRY = {
    "300, stride 1x300: at most 255": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d((1, 300))), (3, 2, 300)),
    "less than the window": (nn.Sequential(nn.ZeroPad2d(3), nn.Conv2d(3, 4, 3)), (3, 8, 8)),
    "33000 products a sum": (nn.Linear(33000, 2), (33000,)),
}


@pytest.mark.parametrize("reason", BEYOND_THE_GEOMETRY)
def test_what_the_kernels_cannot_count_is_refused(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    module, shape = BEYOND_THE_GEOMETRY[reason]
    _, refused = lower_program(quantize(module, np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)))
    assert any(reason in placement.reason for placement in refused), refused


def test_all_refusals_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 1, groups=2))
    _, refused = lower_program(quantize(module, np.ones((2, 3, 8, 8), np.float32)))
    assert {p.op for p in refused} >= {"aten.conv2d", "aten.group_norm"}
    assert len([p for p in refused if p.op == "aten.conv2d"]) == 2


def test_a_result_in_float_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU())
    _, refused = lower_program(quantize(module, np.ones((2, 3, 8, 8), np.float32)))
    assert any("not the result of an integer operator" in placement.reason for placement in refused)


def test_padding_in_front_of_a_pool_is_refused() -> None:
    module = nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(2))
    _, refused = lower_program(quantize(module, np.ones((2, 3, 8, 8), np.float32)))
    assert any("only convolutions take padding" in placement.reason for placement in refused)


def test_a_float_program_is_refused() -> None:
    _, refused = lower_program(to_program(nn.Conv2d(3, 4, 3), (torch.ones(1, 3, 8, 8),)))
    assert any("no range was calibrated" in placement.reason for placement in refused)
