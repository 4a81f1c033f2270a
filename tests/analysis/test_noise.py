"""The model's own noise: what rounding does, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.analysis.noise import noise_of
from edgeopt.candidate.limits import check_outputs, floor_of, verdict
from edgeopt.ir.metrics import Reference
from edgeopt.plugins.testing import to_program
from tests.passes.builders import Call

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.float32)
GRID = (PIXELS / 20).astype(np.float32)


class Applied(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def noise(function: Callable[..., Any], inputs: np.ndarray) -> float:
    found = noise_of(to_program(Applied(function), [torch.from_numpy(inputs)]), [{"x": inputs}])
    assert found.reason is None
    return found.largest


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (torch.floor, PIXELS),
        (lambda x: torch.ceil(x / 16), PIXELS),
        (lambda x: (x >= 128).float() * x, PIXELS),
        (lambda x: x.floor().mean((-2, -1)), PIXELS),
        (lambda x: (x == x.round()).float() * x, PIXELS),
        (lambda x: torch.floor(x * 20), GRID),
        (lambda x: torch.floor(x * 20).mean((-2, -1)), GRID),
        (lambda x: torch.remainder(x, 0.5), GRID),
    ],
    ids=["floor", "ceil", "threshold", "pooled", "equal", "grid", "grid-pooled", "remainder"],
)
def test_a_jump_that_inputs_lie_at_is_no_noise(function: Callable[..., Any], inputs: np.ndarray) -> None:
    program, sample = to_program(Applied(function), [torch.from_numpy(inputs)]), {"x": inputs}
    found = noise_of(program, [sample])
    assert found.reason is None and found.largest < 1e-5
    reference = program.run(sample)
    comparison = Reference((reference,)).compare([{name: array * 1.01 for name, array in reference.items()}])
    assert verdict(comparison, check_outputs(comparison, floor_of(["fp32"]), found.outputs)) == "differs"


def test_a_jump_of_a_quotient_of_two_inputs_is_no_noise() -> None:
    x, y = np.meshgrid(*[np.arange(1, 60, dtype=np.float32)] * 2)
    program = to_program(Call(lambda m, x, y: torch.floor(x / y)), (torch.from_numpy(x), torch.from_numpy(y)))
    sample = dict(zip((one.name for one in program.inputs), (x, y), strict=True))
    found = noise_of(program, [sample])
    assert found.largest == 0.0
    reference = program.run(sample)
    wrong = {name: array - ((x == y) & (x > 50)) for name, array in reference.items()}
    comparison = Reference((reference,)).compare([wrong])
    assert verdict(comparison, check_outputs(comparison, floor_of(["fp32"]), found.outputs)) == "differs"


@pytest.mark.parametrize(
    ("function", "inputs", "least"),
    [
        (lambda x: torch.sin(x * 1e4), PIXELS, 1e-2),
        (lambda x: (x + 1e4) - 1e4, GRID, 1e-6),
        (lambda x: torch.frac(torch.sin(x * 12.9898) * 43758.5453), GRID, 1e-3),
        (lambda x: torch.nn.functional.layer_norm(x, (8, 8)), np.full((1, 3, 8, 8), 1234.567, np.float32), 1e-2),
    ],
    ids=["sine", "cancellation", "hash", "constant"],
)
def test_what_rounding_does_to_an_ill_conditioned_model_is_noise(
    function: Callable[..., Any], inputs: Any, least: float
) -> None:
    assert noise(function, inputs) > least


def test_outputs_that_are_infinite_or_of_integers_have_no_noise() -> None:
    def several(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x > 3), x.argmax(-1), torch.where(x > 3, -torch.inf, x), x * 2

    assert noise(several, PIXELS) < 1e-6


def test_inputs_in_float64_have_no_noise_of_float32() -> None:
    seconds = np.array([[1700000003.0, 1700000005.0, 1700000008.0]])
    assert noise(lambda x: x * 0.1 - 170000000, seconds) == 0.0
