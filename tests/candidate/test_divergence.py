"""The first node that an artifact has wrong, found by compiling programs cut short."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.candidate.cuts import cuts_of
from edgeopt.candidate.divergence import first_divergence
from edgeopt.candidate.fidelity import judge_by
from edgeopt.errors import UserError
from edgeopt.ir.program import Program
from edgeopt.plugins.testing import to_program
from tests.targets.mcu.quantized import quantize

aten = torch.ops.aten
X = {"x": np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)}


class Branches(nn.Module):
    """Two branches, one of which is read again at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = self.first(x).chunk(2, 1)
        gate = torch.sigmoid(self.second(x))
        return self.head(gate + torch.cat([left, right], 1)), right


class Compiler:
    """Runs programs in torch with one operator exchanged for another; counts them."""

    def __init__(self, wrong: str = "", by: Callable[..., Any] = aten.neg.default) -> None:
        self.wrong, self.by, self.compiled = wrong, by, 0

    def __call__(self, program: Program, sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.compiled += 1
        copy = program.clone()
        for node in copy.calls:
            if node.name == self.wrong:
                node.target = self.by
        return copy.run(sample)


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(Branches(), (torch.from_numpy(X["x"]),))


def test_nothing_is_named_where_the_outputs_agree(program: Program) -> None:
    compiler = Compiler()
    assert first_divergence(program, X, compiler, judge_by(1e-4)) is None
    assert compiler.compiled == 1


def test_a_wrong_operator_is_named_with_its_layer_and_line(program: Program) -> None:
    compiler = Compiler("sigmoid")
    found = first_divergence(program, X, compiler, judge_by(1e-4))
    assert found is not None and (found.node, found.op) == ("sigmoid", "aten.sigmoid")
    assert "test_divergence.py" in found.line and "gate = torch.sigmoid" in found.line
    assert 1 < found.error < 10
    assert compiler.compiled <= 2 + math.log2(len(list(program.calls)))


def test_a_wrong_operator_inside_a_layer_names_its_module(program: Program) -> None:
    found = first_divergence(program, X, Compiler("relu"), judge_by(1e-4))
    assert found is not None and (found.node, found.module) == ("relu", "head.0")
    assert str(found).startswith("relu (aten.relu) in head.0 (")


def test_values_that_are_not_finite_are_wrong(program: Program) -> None:
    found = first_divergence(program, X, Compiler("sigmoid", aten.logit.default), judge_by(1e-4))
    assert found is not None and found.node == "sigmoid" and found.error == math.inf


def test_what_does_not_compile_cut_short_is_passed_over(program: Program) -> None:
    compiler = Compiler("sigmoid")

    def refusing(short: Program, sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if short.output_names != program.output_names and "sigmoid" in short.output_names:
            raise UserError("no kernel leaves this", "ask for another output")
        return compiler(short, sample)

    found = first_divergence(program, X, refusing, judge_by(1e-4))
    assert found is not None and found.node == "sigmoid"


def test_a_program_that_does_not_run_says_so_itself(program: Program) -> None:
    def broken(short: Program, sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise UserError("it does not run", "mend it")

    with pytest.raises(UserError, match="it does not run"):
        first_divergence(program, X, broken, judge_by(1e-4))


def test_quantized_programs_are_cut_where_integers_are_stored() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    samples = np.random.default_rng(0).standard_normal((4, 3, 9, 9), np.float32)
    program = quantize(module, samples)
    for cut in cuts_of(program):
        assert all(value.meta["val"].is_floating_point() for value in cut.values)
    found = first_divergence(program, {program.inputs[0].name: samples[:1]}, Compiler("relu_1"), judge_by(2e-2))
    assert found is not None and (found.node, found.module) == ("conv2d_1", "2")


def test_a_cut_keeps_what_is_read_later(program: Program) -> None:
    names = [{value.name for value in cut.values} for cut in cuts_of(program)]
    assert names[0] == {"linear"}
    # The second half of the split is also an output of the model.
    assert {"getitem", "getitem_1", "sigmoid"} in names
    assert names[-1] == {node.name for node in program.results}
