"""What is known of the original's outputs before anything is compared with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.analysis.reference import reference_of
from edgeopt.plugins.testing import to_program
from edgeopt.records.outputs import OutputComparison

X = torch.tensor([[3.0, 1.0, 3.0, 0.0], [2.0, 2.0, 1.0, 2.0]])


class Choosers(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = 2 * x
        return {
            "topk": torch.topk(y, 2).indices,
            "of_input": x.argmax(),
            "argmax": y.argmax(1),
            "kept": y.argmin(0, keepdim=True).to(torch.int32),
            "sort": torch.sort(y, 0, descending=True).indices.unsqueeze(0),
            "max": torch.max(y, 1).indices,
        }


class Others(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Buffer(torch.arange(4))

    def forward(self, x: torch.Tensor, i: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "random": x + torch.rand_like(x),
            "above": x > 1.5,
            "next": i + self.table,
            "size": torch.full((1,), x.shape[1]),
            "double": 2 * x,
        }


def by_name(module: nn.Module, *inputs: torch.Tensor) -> tuple[Any, ...]:
    program = to_program(module, inputs)
    sample = {spec.name: value.numpy() for spec, value in zip(program.inputs, inputs, strict=True)}
    return reference_of(program, [sample]), sample


def test_indices_know_the_values_they_point_at() -> None:
    reference, _ = by_name(Choosers(), X)
    (pointed,), (outputs,) = reference.pointed, reference.outputs
    best = {name: pointed[name].at(outputs[name]).reshape(-1).tolist() for name in outputs}
    assert best == {
        "topk": [6.0, 6.0, 4.0, 4.0],
        "of_input": [3.0],
        "argmax": [6.0, 4.0],
        "kept": [4.0, 2.0, 2.0, 0.0],
        "sort": [6.0, 4.0, 6.0, 4.0, 4.0, 2.0, 2.0, 0.0],
        "max": [6.0, 4.0],
    }


@pytest.mark.parametrize(("other", "ties"), [([[2, 0], [3, 1]], True), ([[0, 2], [0, 2]], False)])
def test_ties_of_top_k(other: list[Any], ties: bool) -> None:
    reference, _ = by_name(Choosers(), X)
    got = {**reference.outputs[0], "topk": np.array(other)}
    found: OutputComparison = next(o for o in reference.compare([got]).outputs if o.name == "topk")
    assert (found.reason is not None and found.reason.startswith("ties: ")) is ties
    assert (found.error is None) is ties


def test_what_is_random_decided_or_exact() -> None:
    reference, sample = by_name(Others(), X, torch.arange(4))
    comparison = reference.compare([to_program(Others(), (X, torch.arange(4))).run(sample)])
    assert {output.name: output.form for output in comparison.outputs} == {
        "random": "number",
        "above": "decision",
        "next": "exact",
        "size": "exact",
        "double": "number",
    }
    assert [output.name for output in comparison.outputs if output.reason] == ["random"]
    assert set(reference.not_compared) == {"random"}
