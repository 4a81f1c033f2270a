from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.ir.metrics import compare
from edgeopt.ir.program import Range
from edgeopt.ops.quantize import dequantize
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.testing import to_program
from edgeopt.quant.scheme import CONCATENATIONS, POOLS, PRODUCTS, SUMS, WEIGHTED, Scheme
from tests.typed import some

KERNELS = Scheme(torch.int8, WEIGHTED | SUMS | POOLS | CONCATENATIONS | PRODUCTS)
FUSING = Scheme(torch.uint8, WEIGHTED | SUMS | POOLS, integer_bias=False, integer_results=False)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(x))
        x = torch.relu(x + self.b(x))
        return self.head(torch.nn.functional.avg_pool2d(x, 6).flatten(1))


def calibrated(module: Any, *shapes: Any) -> Any:
    torch.manual_seed(0)
    inputs = [torch.randn(shape) for shape in shapes]
    program = to_program(module, inputs)
    sample = {spec.name: value.numpy() for spec, value in zip(program.inputs, inputs, strict=True)}
    seen = {name: torch.from_numpy(value) for name, value in sample.items()}
    program.run(sample, lambda node, value: seen.update({node.name: value}))
    program.ranges = {n: Range((float(v.min()),), (float(v.max()),)) for n, v in seen.items()}
    return program, sample


def quantize(program: Any, scheme: Any, keep: Any = ()) -> Any:
    result, (record,) = Pipeline([InsertQdq(scheme, keep=keep)]).run(program)
    return result, record


def sqnr(program: Any, result: Any, sample: Any) -> Any:
    return compare(program.run(sample), result.run(sample)).sqnr_db


@pytest.mark.parametrize("scheme", [KERNELS, FUSING], ids=["kernels", "fusing"])
def test_numerics_and_idempotence(scheme: Any) -> None:
    program, sample = calibrated(Residual(), (1, 4, 6, 6))
    result, record = quantize(program, scheme)
    assert record.changed and not record.refused
    assert sqnr(program, result, sample) > 30
    _, again = quantize(result, scheme)
    assert not again.changed


def test_kernels_get_integer_results_everywhere() -> None:
    result, _ = quantize(calibrated(Residual(), (1, 4, 6, 6))[0], KERNELS)
    text = result.text()
    # input, relu, conv b, relu of the sum, pool, reshape (repeated), linear
    assert text.count("edgeopt.quantize(") == 7
    assert "quantize(%relu," in text and "quantize(%conv2d," not in text, "the pair stands below the absorbed ReLU"
    assert "quantize(%reshape, %avg_pool2d_scale, %avg_pool2d_zero_point" in text, "a move keeps its source's map"
    assert result.results[0].target is torch.ops.edgeopt.dequantize.default
    types = {name: t.dtype for name, t in result.constants.items()}
    assert types["a_weight_q"] == torch.int8 and types["a_bias_q"] == torch.int32


def test_some_results_are_integers_only_for_integer_readers() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down, self.norm = nn.Linear(8, 16), nn.Linear(16, 8), nn.LayerNorm(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x + self.down(torch.relu(self.up(x))))

    program, sample = calibrated(Normalized(), (5, 8))
    everywhere, _ = quantize(program, KERNELS)
    some, record = quantize(program, replace(KERNELS, float_results=SUMS | {torch.ops.aten.linear.default}))
    assert everywhere.text().count("edgeopt.quantize(") == 4
    assert some.text().count("edgeopt.quantize(") == 2, "what the linears read: the input and the ReLU's result"
    assert [note.reason for note in record.refused] == ["no product reads its result as integers"]
    assert sqnr(program, some, sample) > sqnr(program, everywhere, sample)


def test_fusing_leaves_float_what_nothing_integer_reads() -> None:
    result, _ = quantize(calibrated(Residual(), (1, 4, 6, 6))[0], FUSING)
    text = result.text()
    assert text.count("edgeopt.quantize(") == 5
    assert "aten.reshape(%dequantize" in text, "the pair stands above the reshape"
    assert result.results[0].target is torch.ops.aten.linear.default
    assert "a_bias" in result.constants, "the bias stays float"


def test_operands_of_a_concatenation_share_its_map() -> None:
    class Join(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, y * 3.0], 1)

    result, _ = quantize(calibrated(Join(), (1, 4), (1, 4))[0], KERNELS)
    scales = {node.args[1].name for node in result.calls if node.target is torch.ops.edgeopt.quantize.default}
    assert len({float(result.constants[name]) for name in scales}) == 1


@pytest.mark.parametrize("scheme", [KERNELS, replace(FUSING, integer=KERNELS.integer)], ids=["kernels", "fusing"])
def test_ranges_too_different_for_one_map_stay_float(scheme: Any) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(4, 8, 3), nn.Conv2d(4, 8, 3), nn.Conv2d(16, 8, 1)
            with torch.no_grad():
                self.a.weight *= 600
                some(self.a.bias).mul_(600)
                self.c.weight[:, :8] /= 600

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.relu(torch.cat([self.a(x), self.b(x)], 1)))

    program, sample = calibrated(Branches(), (1, 4, 8, 8))
    result, record = quantize(program, scheme)
    assert {note.node for note in record.notes if note.reason is None} == {"conv2d", "conv2d_1"}
    assert {note.node for note in record.refused} == {"cat", "conv2d_2"}
    assert all("conv2d_1 would be left" in note.reason for note in record.refused)
    assert sqnr(program, result, sample) > 30


@pytest.mark.parametrize("shares", [False, True], ids=["alone", "shared"])
def test_results_that_are_joined_take_the_map_of_the_whole(shares: Any) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            a = self.a(x)
            joined = torch.cat([a, self.b(x)], 1)
            return (joined, a) if shares else joined

    program, sample = calibrated(Branches(), (1, 4))
    result, _ = quantize(program, KERNELS)
    (cat,) = (node for node in result.calls if node.target is torch.ops.aten.cat.default)
    scales = {float(result.constants[node.args[1].name]) for node in cat.args[0]}
    assert len(scales) == 1
    assert sqnr(program, result, sample) > 30


def test_a_bias_that_would_overflow_coarsens_its_channel() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight[0], layer.bias[:] = 1e-12, 5.0
    program, sample = calibrated(nn.Sequential(layer), (1, 3))
    result, _ = quantize(program, Scheme(torch.int8, WEIGHTED, integer_results=False))
    assert sqnr(program, result, sample) > 30


def refusal(module: Any, *shapes: Any, scheme: Any = KERNELS, keep: Any = (), forget: Any = ()) -> Any:
    program, _ = calibrated(module, *shapes)
    for name in forget:
        del program.ranges[name]
    _, record = quantize(program, scheme, keep)
    return [note.reason for note in record.refused]


class Sum(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class AddConstant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.ones(1, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.offset


class ScaledSum(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.add(x, y, alpha=2)


class InDouble(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double() + x.double()


class RunTimeWeight(nn.Module):
    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, w)


def test_refusals() -> None:
    assert refusal(nn.Linear(3, 2), (1, 3), keep=["linear"]) == ["kept in higher precision"]
    assert refusal(Sum(), (1, 3), (1, 3), forget=["x"]) == ["no range was calibrated for x"]
    assert refusal(RunTimeWeight(), (1, 3), (2, 3)) == ["its weight or bias is computed at run time"]
    assert refusal(Sum(), (1, 3), (2, 3)) == ["it broadcasts"]
    assert refusal(Sum(), (1, 3), (1, 3), scheme=FUSING) == ["no product reads its result as integers"]
    assert refusal(AddConstant(), (1, 3)) == ["it adds a constant"]
    assert refusal(ScaledSum(), (1, 3), (1, 3)) == ["it scales an operand"]
    assert refusal(InDouble(), (1, 3)) == ["it computes in torch.float64"]
    softmax = replace(KERNELS, in_float={torch.ops.aten.softmax.int: "it is faster in float"})
    assert refusal(nn.Softmax(-1), (1, 3), scheme=softmax) == ["it is faster in float"]


def test_weights_are_stored_to_half_a_step() -> None:
    program, _ = calibrated(nn.Sequential(nn.Conv2d(3, 5, 3)), (1, 3, 6, 6))
    result, _ = quantize(program, KERNELS)
    name = next(name for name in program.constants if name.endswith("weight"))
    stored = [result.constants[f"{name}_{part}"] for part in ("q", "scale", "zero_point")]
    error = (dequantize(*stored, 0) - program.constants[name]).abs()
    assert torch.all(error <= stored[1].view(-1, 1, 1, 1) / 2 * (1 + 1e-5))


def test_a_product_with_a_constant_stays_in_float() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.map = nn.Linear(4, 6), nn.Parameter(torch.randn(2, 6, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.up(x)
            return (y @ self.map) @ y.mT

    program, sample = calibrated(Mapped(), (2, 5, 4))
    result, record = quantize(program, KERNELS)
    assert [note.reason for note in record.refused] == ["it multiplies by a constant that is not a layer's weight"]
    assert sqnr(program, result, sample) > 30
