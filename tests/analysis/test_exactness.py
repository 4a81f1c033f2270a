"""Exact passes on models whose own noise is above any fixed bound."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.analysis.accuracy_tracker import EXACT_BOUND, AccuracyTracker, changes
from edgeopt.analysis.exactness import FLOAT64_BOUND, NOISES
from edgeopt.analysis.float64 import NotInFloat64, in_float64, sample_in_float64
from edgeopt.analysis.noise import noise_of
from edgeopt.errors import PassError
from edgeopt.ir.context import Context
from edgeopt.ir.metrics import Reference
from edgeopt.ir.pass_base import Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import to_program
from tests.typed import some

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)


def ill_conditioned(depth: int, offset: float) -> nn.Module:
    """Convolutions whose biases are large beside the spread of their results, which batch norms take off again."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    y = torch.from_numpy(X)
    with torch.no_grad():
        for _ in range(depth):
            convolution, norm = nn.Conv2d(y.shape[1], 16, 3, padding=1), nn.BatchNorm2d(16, eps=1e-12).eval()
            bias = some(convolution.bias)
            bias += offset * bias.sign()
            y = convolution(y)
            some(norm.running_mean).copy_(y.mean((0, 2, 3)))
            some(norm.running_var).copy_(y.var((0, 2, 3)))
            y = torch.relu(norm(y))
            layers += [convolution, norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 5))


@cache
def program(depth: int, offset: float) -> Program:
    return to_program(ill_conditioned(depth, offset), (torch.from_numpy(X),))


def tracker(of: Program) -> AccuracyTracker:
    return AccuracyTracker(of, [{of.inputs[0].name: X}])


@dataclass(frozen=True)
class Scale(Pass):
    """A pass that claims to be exact and multiplies one constant."""

    name = "scale"

    constant: str
    factor: float

    def run(self, program: Program, context: Context) -> PassResult:
        copy = program.clone()
        copy.constants[self.constant] = copy.constants[self.constant] * self.factor
        return PassResult(copy, True)


@pytest.mark.parametrize(("depth", "offset", "noise"), [(6, 30.0, 1e-5), (12, 100.0, 1e-4)])
def test_exact_passes_of_an_ill_conditioned_model_are_judged_by_its_noise(depth: Any, offset: Any, noise: Any) -> None:
    given = program(depth, offset)
    book = tracker(given)
    assert noise < book.noise.largest < 20 * noise and book.noise.reason is None
    _, records = Pipeline([step.build() for step in PACKED], book).run(given)
    (folded,) = (record for record in records if record.name == "fold-batch-norm")
    assert folded.error is not None and folded.error.relative > EXACT_BOUND


def test_a_wrong_pass_is_told_from_noise_in_float64() -> None:
    given = program(12, 100.0)
    book = tracker(given)
    with pytest.raises(PassError, match="the model's own noise") as caught:
        Pipeline([Scale("_37_weight", 1.0005)], book).run(given)
    assert max(book.drift.values()) < NOISES * book.noise.largest, "so small that noise alone would allow it"
    assert "--skip-pass scale" in (caught.value.hint or "")


class Rounded(nn.Module):
    """An ill-conditioned model between a rounding and its inverse, which compute in float32 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ill_conditioned(6, 30.0)
        self.register_buffer("scale", torch.tensor(2.0**-20))
        self.register_buffer("zero", torch.tensor(0, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(
            DEQUANTIZE(QUANTIZE(x, self.scale, self.zero, 0, torch.int32), self.scale, self.zero, 0)
        )
        return y


def test_where_float64_does_not_run_the_change_is_held_against_the_noise() -> None:
    given = to_program(Rounded(), (torch.from_numpy(X),))
    book = tracker(given)
    assert book.noise.reason is not None and "dequantize" in book.noise.reason
    _, records = Pipeline([step.build() for step in PACKED], book).run(given)
    assert max(r.error.relative for r in records if r.error) > EXACT_BOUND
    with pytest.raises(PassError, match="yet changed the outputs"):
        Pipeline([Scale("body_19_weight", 1.05)], tracker(given)).run(given)


def test_a_model_of_integers_has_no_noise() -> None:
    given = to_program(nn.Embedding(5, 3), (torch.tensor([[1, 2]]),))
    noise = noise_of(given, [{given.inputs[0].name: np.array([[1, 2]])}])
    assert noise.outputs == {"output": 0.0} and noise.largest == 0.0


class Mixed(nn.Module):
    """What names its types: a cast, a softmax with a dtype, a constant that is made as it runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.softmax(x.to(torch.float16).to(torch.float32), -1, dtype=torch.float32)
        return y + torch.arange(8, dtype=torch.float32)


def test_types_that_operators_name_become_float64() -> None:
    double = in_float64(to_program(Mixed(), (torch.from_numpy(X),)))
    assert {node.meta["val"].dtype for node in double.calls} == {torch.float64}
    got = double.run(sample_in_float64({"x": X}))["output"]
    wide = torch.from_numpy(X).double()
    assert np.array_equal(got, (torch.softmax(wide, -1) + torch.arange(8)).numpy())


def test_operators_that_stay_in_float32_are_named() -> None:
    with pytest.raises(NotInFloat64, match="dequantize"):
        in_float64(to_program(Rounded(), (torch.from_numpy(X),)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1, 2)
        return self.head(self.norm(x + self.attend(x, x, x, need_weights=False)[0]))


def test_every_exact_pass_is_exact_in_float64() -> None:
    for given in (program(6, 30.0), to_program(Attention(), (torch.from_numpy(X),))):
        double, sample = in_float64(given), sample_in_float64({given.inputs[0].name: X})
        outputs = [double.run(sample)]
        for step in PACKED:
            chosen = step.build()
            double = chosen(double).program
            double.clean()
            outputs.append(double.run(sample))
            assert max(changes(Reference(tuple(outputs[-2:-1])), outputs[-1:]).values()) <= FLOAT64_BOUND, chosen.name
