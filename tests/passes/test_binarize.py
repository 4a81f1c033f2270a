"""Layers become signs, start at their best fit, learn through them, and end as packed layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.distill.distil import Distillation, distil
from edgeopt.distill.loop import TuneOptions
from edgeopt.distill.model import with_constants
from edgeopt.distill.swap import KEPT
from edgeopt.ir.context import EMPTY, SAMPLES
from edgeopt.ir.metrics import compare
from edgeopt.ir.program import op_name
from edgeopt.passes.exact.standard import EXACT, PACKED
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.binarize import Binarize
from edgeopt.plugins.testing import to_program
from tests.typed import some


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 40, 3, padding=1), nn.Conv2d(40, 48, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(48, 48, 3, groups=48)
        self.third, self.head = nn.Linear(48, 64), nn.Linear(64, 5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.first(x).relu()).relu()
        return self.head(self.third(self.depthwise(y).relu().mean((2, 3))).relu())


@pytest.fixture(scope="module")
def program() -> Any:
    torch.manual_seed(0)
    program = to_program(Net(), (torch.randn(1, 3, 10, 10),))
    return Pipeline(step.build() for step in EXACT)(program).program


@pytest.fixture(scope="module")
def samples() -> Any:
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(1, 3, 10, 10, generator=generator).numpy()} for _ in range(24)]


def test_inner_layers_are_swapped_and_the_others_say_why_not(program: Any, samples: Any) -> None:
    context = EMPTY.adding(SAMPLES, samples)
    result = Binarize()(program, context)
    notes = {note.node: note.reason for note in result.notes}
    assert notes == {
        "conv2d": "it is the first or the last layer, where signs lose most",
        "conv2d_1": None,
        "conv2d_2": "conv2d_2 has 48 groups",
        "linear": None,
        "linear_1": "it is the first or the last layer, where signs lose most",
    }
    assert [swap.original for swap in result.swaps] == ["conv2d_1", "linear"]
    assert len(Binarize(ends=True)(program, context).swaps) == 4


def test_what_is_kept_returns(program: Any, samples: Any) -> None:
    result = Binarize(keep=["linear"])(program, EMPTY.adding(SAMPLES, samples))
    assert ("linear", KEPT) in [(note.node, note.reason) for note in result.notes]
    assert [swap.original for swap in result.swaps] == ["conv2d_1"]


def test_scale_and_shift_start_at_their_best(program: Any, samples: Any) -> None:
    one = samples[:1]
    result = Binarize()(program, EMPTY.adding(SAMPLES, one))
    assert ("linear", "its signs never vary on the samples") in [(note.node, note.reason) for note in result.notes]
    (swap,) = result.swaps
    distillation = Distillation(program, one, one, TuneOptions())
    best = distillation.block_errors(result.program, result.swaps)[swap.original]
    for name in swap.parameters[2:]:
        for factor in (0.9, 1.1):
            other = with_constants(result.program, {name: factor * result.program.constants[name]})
            assert distillation.block_errors(other, result.swaps)[swap.original] > best


def test_tuning_lowers_the_error_and_packing_keeps_it(program: Any, samples: Any) -> None:
    result = Binarize()(program, EMPTY.adding(SAMPLES, samples))
    swapped = result.program
    options = TuneOptions(steps=40, rate=0.03, check_every=10)
    tuned = distil(program, swapped, result.swaps, samples, options, whole=True)
    assert tuned.outputs_after < 0.9 * tuned.outputs_before
    packed = Pipeline(step.build() for step in PACKED)(tuned.program).program
    names = [op_name(node) for node in packed.calls]
    assert names.count("edgeopt.binary_conv2d") == names.count("edgeopt.binary_linear") == 1
    assert "aten.sign" not in names
    for sample in samples[:4]:
        assert compare(tuned.program.run(sample), packed.run(sample)).relative < 1e-5


def test_channels_that_never_vary_have_a_sign(samples: Any) -> None:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        net.first.weight[:9], some(net.first.bias)[:9] = (
            0.0,
            torch.linspace(-1, 1, 9),
        )  # dead after the ReLU, or constant
    program = Pipeline(step.build() for step in EXACT)(to_program(net, (torch.randn(1, 3, 10, 10),))).program
    swapped = Binarize()(program, EMPTY.adding(SAMPLES, samples)).program
    packed = Pipeline(step.build() for step in PACKED)(swapped).program
    assert sum(node.target is torch.ops.edgeopt.binary_conv2d.default for node in packed.calls) == 1
    assert compare(swapped.run(samples[0]), packed.run(samples[0])).relative < 1e-5
