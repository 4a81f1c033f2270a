"""Where OpenVINO answers NaN of the model's own with numbers, the notes say that it was not judged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino import nans
from tests.passes.builders import Call

IMAGE, LATER = torch.randn(2, 3, 5, 4), torch.tensor([False, False, True, True])

HIDDEN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu after log": lambda x: torch.log(x).relu(),
    "clamp after rsqrt": lambda x: (torch.rsqrt(x) + 1).clamp(0, 1),
    "argmax after div": lambda x: (x / x.sum(1, keepdim=True)).argmax(1),
    "relu after acos": lambda x: x.acos().relu(),
    "relu after mul": lambda x: (x * torch.tensor([1.0, 0.0, torch.inf, 1.0])).relu(),
    "clamp after mul": lambda x: ((1 - (x > 0).float()) * -torch.inf * 2).clamp(0, 1),
    "maximum after add": lambda x: torch.maximum(x.masked_fill(x > 0, -torch.inf) + 1 / (x * x + 0), x),
    "relu after softmax": lambda x: x.masked_fill(x > 0, -torch.inf).softmax(-1).relu(),
    "relu after matmul": lambda x: (x.reciprocal() @ x.mT).relu(),
    "relu after sum_1": lambda x: x.reciprocal().sum(1).relu(),
}
RULED_OUT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a root of a mean of squares": lambda x: (x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)).relu(),
    "a root of squares": lambda x: (x * x).sum(1).sqrt().relu(),
    "a logarithm above 0": lambda x: torch.log(x.exp() + 1).relu(),
    "a quotient by what is above 0": lambda x: (x / x.abs().clamp(min=1e-3) / 3).relu(),
    "a softmax": lambda x: x.softmax(1).relu(),
    "a causal mask": lambda x: (x[..., :4] + torch.full((4, 4), -torch.inf).triu(1)[:1]).softmax(-1).relu(),
    "a constant mask": lambda x: x.masked_fill(LATER, -torch.inf).softmax(-1).relu(),
    "infinity beside numbers": lambda x: torch.where(x > 0, x, torch.inf).amin(1).exp().relu(),
    "infinity times what is above 0": lambda x: (x.abs().clamp(min=0.1) * torch.tensor(torch.inf)).relu(),
    "nothing hidden": lambda x: torch.log(x) + 1,
}


@pytest.mark.parametrize(("words", "function"), HIDDEN.items())
def test_what_hides_nan_is_told_with_what_makes_it(words: str, function: Callable[..., torch.Tensor]) -> None:
    (note,) = nans.notes(to_program(Call(lambda m, x: function(x)), (IMAGE,)))
    assert words in note


@pytest.mark.parametrize("function", RULED_OUT.values(), ids=RULED_OUT)
def test_what_cannot_be_nan_is_not_told(function: Callable[..., torch.Tensor]) -> None:
    assert nans.notes(to_program(Call(lambda m, x: function(x)), (IMAGE,))) == ()


def test_modules_are_named() -> None:
    class Log(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.log()

    (note,) = nans.notes(to_program(nn.Sequential(Log(), nn.ReLU()), (IMAGE,)))
    assert "relu in '1' after log in '0'" in note


def test_an_ordinary_network_has_no_note() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(IMAGE)
    program = to_program(Call(lambda m, x: F.relu6(m.layers(x)), layers=model.eval()), (IMAGE,))
    assert nans.notes(program) == ()
