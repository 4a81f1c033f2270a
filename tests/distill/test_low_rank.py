from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.distill.distil import distil
from edgeopt.distill.loop import TuneOptions
from edgeopt.distill.low_rank import factors, merged
from edgeopt.distill.model import with_constants
from edgeopt.ir.program import Program
from edgeopt.plugins.testing import to_program
from tests.distill.test_distil import original, samples, swapped

RANK = 2


def factored(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the factors with updates that are not zero."""
    torch.manual_seed(1)
    return {name: torch.randn_like(factor) for name, factor in factors(weights, RANK, 0).items()}


class Apart(nn.Module):
    """A linear layer with its update as a path of two layers beside it."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias, self.down, self.up = map(nn.Parameter, (weight, bias, down, up))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias) + x @ self.down.mT @ self.up.mT


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_merging_is_exact(dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(12, 8, dtype=dtype), torch.randn(16, 12, dtype=dtype)
    weights = {"w": layer.weight.detach()}
    update = factored(weights)
    with torch.no_grad():
        apart = Apart(layer.weight, layer.bias, update["w.down"], update["w.up"])(x)
        together = nn.functional.linear(x, merged(update, weights)["w"], layer.bias)
    assert float((together - apart).abs().max() / apart.abs().max()) < bound


def test_updates_start_at_the_original_and_are_seeded() -> None:
    weights = {"large": torch.randn(8, 6), "bias": torch.randn(8), "small": torch.randn(RANK, 6)}
    one, again, other = (factors(weights, RANK, seed) for seed in (0, 0, 1))
    assert {name: tuple(f.shape) for name, f in one.items()} == {"large.down": (RANK, 6), "large.up": (8, RANK)}
    assert torch.equal(merged(one, weights)["large"], weights["large"])
    assert torch.equal(one["large.down"], again["large.down"])
    assert not torch.equal(one["large.down"], other["large.down"])


def tuned_weights(program: Program, **options: Any) -> tuple[Program, Program, float, float]:
    student, swap = swapped(program)
    given = TuneOptions(steps=150, rate=5e-2, model_part=1.0, **options)
    tuned = distil(program, student, [swap], samples(program, 16), given, blocks=False, whole=True)
    return student, tuned.program, tuned.outputs_before, tuned.outputs_after


def test_stage_two_by_updates_alone() -> None:
    student, tuned, before, after = tuned_weights(original(), rank=RANK)
    assert after < 0.8 * before
    assert tuned.text() == student.text()  # no node and no constant more than before
    moved = {name: tuned.constants[name] - value for name, value in student.constants.items()}
    assert all(torch.linalg.matrix_rank(moved[f"_{i}_weight"], rtol=1e-4) == RANK for i in (0, 2))
    assert not moved["_0_bias"].any() and not moved["_2_bias"].any()
    assert moved["scale"].any()


def test_updates_join_nothing_but_their_weight() -> None:
    program = to_program(nn.Linear(12, 8), (torch.randn(2, 12),))
    weights = {name: t for name, t in program.constants.items() if t.dim() == 2}
    other = with_constants(program, merged(factored(weights), program.constants))
    assert other.constants.keys() == program.constants.keys()
    assert all(torch.equal(other.constants[n], t) for n, t in program.constants.items() if t.dim() != 2)
