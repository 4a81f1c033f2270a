"""Networks of signs, as they are written, become layers of packed signs that give the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeopt.analysis.accuracy_tracker import EXACT_BOUND, AccuracyTracker
from edgeopt.ir.program import op_name
from edgeopt.ops.binary_matmul import BINARY_MATMUL
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.passes.exact.pack_binary import PackBinary
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import assert_pass, to_program
from tests.typed import some


def binary(weight: torch.Tensor, per_channel: bool = True) -> torch.Tensor:
    """Weights as BiPFT and XNOR-Net write them."""
    dims = tuple(range(1, weight.dim())) if per_channel else None
    return weight.abs().mean(dims, keepdim=per_channel) * torch.sign(weight - weight.mean())


class Layer(nn.Module):
    """A linear of signs in one of the ways to write the sign."""

    def __init__(self, form: str, inputs: int = 40, per_channel: bool = True) -> None:
        super().__init__()
        self.form, self.per_channel = form, per_channel
        self.weight = nn.Parameter(torch.randn(7, inputs))
        self.bias = nn.Parameter(torch.randn(7))
        self.move = nn.Parameter(torch.randn(inputs))
        self.alpha = nn.Parameter(torch.tensor([0.7]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(getattr(self, self.form)(x), binary(self.weight, self.per_channel), self.bias)

    def plain(self, x: Any) -> Any:
        return torch.sign(x)

    def bipft(self, x: Any) -> Any:
        return self.alpha * torch.sign(x + self.move)

    def straight_through(self, x: Any) -> Any:
        clipped = x.clamp(-1, 1)
        return (torch.sign(x) - clipped).detach() + clipped

    def chosen(self, x: Any) -> Any:
        return torch.where(x - 0.3 >= 0, 2.0, -1.0)

    def below(self, x: Any) -> Any:
        return torch.where(x <= 0.1, 1.0, 0.0)

    def bits(self, x: Any) -> Any:
        return (x > 0.2).float() * 0.5


FORMS = ("plain", "bipft", "straight_through", "chosen", "below", "bits")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_linears_are_packed(form: str, per_channel: bool) -> None:
    module = Layer(form, per_channel=per_channel)
    x = torch.randn(3, 5, 40)
    program = Pipeline(step.build() for step in EXACT)(to_program(module, (x,))).program
    result = assert_pass(PackBinary(), program, [x], changes=True)
    assert [(note.rule, note.reason) for note in result.notes] == [("pack-layer", None)]
    assert sum(t.numel() * t.element_size() for t in result.program.constants.values()) < 7 * 40 * 4


class Attention(nn.Module):
    """Attention of signs as BiPFT writes it: queries and keys are signs, weights of one bit meet values of signs."""

    def __init__(self, weights_of_one_bit: bool = True) -> None:
        super().__init__()
        self.weights_of_one_bit = weights_of_one_bit
        self.alphas = nn.Parameter(torch.tensor([0.7, 0.4, 1.3]))
        self.level = 0.12

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = x.unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
        q, k, v = (alpha * torch.sign(part) for alpha, part in zip(self.alphas, heads, strict=True))
        weights = ((q @ k.transpose(-1, -2)) * 0.25).softmax(-1)
        if self.weights_of_one_bit:
            weights = self.level * torch.clamp(torch.round(weights / self.level), 0, 1)
        y: torch.Tensor = (weights @ v).permute(0, 2, 1, 3).flatten(2)
        return y


@pytest.mark.parametrize("weights_of_one_bit", [True, False])
def test_products_of_attention_count_bits(weights_of_one_bit: bool) -> None:
    x = torch.randn(2, 9, 96)
    program = Pipeline(step.build() for step in EXACT)(to_program(Attention(weights_of_one_bit), (x,))).program
    result = assert_pass(PackBinary(), program, [x], changes=True)
    products = [node for node in result.program.calls if node.target is BINARY_MATMUL]
    assert [node.args[-1] for node in products] == ([False, True] if weights_of_one_bit else [False])
    assert (
        not any(node.target is torch.ops.aten.sign.default for node in result.program.calls) or not weights_of_one_bit
    )


class Turned(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.move = nn.Parameter(torch.randn(8))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if self.form == "by channel":
            return torch.sign(a + self.move) @ torch.sign(b)
        if self.form == "bits on the right":
            return torch.sign(a) @ (b >= 0).float()
        return torch.where(a >= 0, 2.0, -1.0) @ torch.sign(b)


@pytest.mark.parametrize(
    ("form", "reason"),
    [("by channel", "along axis"), ("bits on the right", "no signs about zero"), ("other", "neither signs nor")],
)
def test_products_of_other_values_are_left(form: str, reason: str) -> None:
    program = to_program(Turned(form), (torch.randn(4, 8), torch.randn(8, 3)))
    (note,) = Pipeline([FoldConstants(), PackBinary()])(program).notes
    assert note.rule == "pack-product" and reason in str(note.reason)


class Block(nn.Module):
    """Residual block of a binary network: batch norm, sign, convolution of signs, batch norm."""

    def __init__(self, padding: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.first, self.last = nn.BatchNorm2d(40), nn.BatchNorm2d(40)
        self.weight = nn.Parameter(torch.randn(40, 40 // groups, 3, 3))
        self.padding, self.groups = padding, groups
        for norm in (self.first, self.last):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            some(norm.running_mean).normal_()
            some(norm.running_var).uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.conv2d(
            torch.sign(self.first(x)), binary(self.weight), None, (2, 1), self.padding, groups=self.groups
        )
        return self.last(y)


@pytest.mark.parametrize("padding", [0, 1])
def test_batch_norms_become_thresholds_and_scales(padding: int) -> None:
    x = torch.randn(2, 40, 9, 8)
    program = Pipeline(step.build() for step in EXACT)(to_program(Block(padding), (x,))).program
    result = assert_pass(PackBinary(), program, [x], changes=True)
    calls = [op_name(node) for node in result.program.calls]
    assert calls == ["edgeopt.binary_conv2d"]


def test_the_ledger_holds_it_to_its_word() -> None:
    x = torch.randn(2, 40, 9, 8)
    program = to_program(Block().eval(), (x,))
    passes = [*(step.build() for step in EXACT), PackBinary()]
    final, records = Pipeline(passes, AccuracyTracker(program, [{"x": x.numpy()}])).run(program)
    assert [op_name(node) for node in final.calls] == ["edgeopt.binary_conv2d"]
    assert records[-1].name == "pack-binary" and some(records[-1].error).relative < EXACT_BOUND


class Rectified(Layer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.relu(x))


@pytest.mark.parametrize(
    ("module", "shape", "reason"),
    [
        (Rectified("plain"), (3, 40), "never negative"),
        (Block(groups=2).eval(), (2, 40, 9, 8), "2 groups"),
    ],
)
def test_refuses(module: nn.Module, shape: tuple[int, ...], reason: str) -> None:
    x = torch.randn(shape)
    result = PackBinary()(FoldConstants()(to_program(module, (x,))).program)
    assert not result.changed
    assert [reason in str(note.reason) for note in result.notes] == [True]


def test_refuses_weights_of_several_magnitudes_and_leaves_other_layers_alone() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(40, 40), nn.Linear(40, 7)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.sign(self.first(x)))

    result = PackBinary()(to_program(Mixed(), (torch.randn(2, 40),)))
    assert not result.changed
    assert [note.reason for note in result.notes] == ["the weights of a channel of linear_1 have several magnitudes"]
