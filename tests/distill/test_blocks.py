from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from edgeopt.distill.batches import joined
from edgeopt.distill.blocks import Blocks, Originals, labels
from edgeopt.distill.distil import distil
from edgeopt.ir.program import Program
from tests.distill.test_distil import OPTIONS, original, samples, swapped


@pytest.mark.parametrize(("kept", "passes"), [(0, 6), (1, 5), (3, 3)])
def test_values_are_kept_while_they_fit(monkeypatch: pytest.MonkeyPatch, kept: int, passes: int) -> None:
    program = original()
    _, swap = swapped(program)
    batches = joined(program, samples(program, 3), 16)
    size = 2 * 8 * 4 * 4  # input and output of the block, [8, 4] in float32
    evaluate, calls = Program.evaluate, []

    def counted(self: Any, *arguments: Any) -> Any:
        calls.append(self)
        return evaluate(self, *arguments)

    monkeypatch.setattr(Program, "evaluate", counted)
    originals = Originals(program, labels([swap]), kept * size)
    first, again = ([originals(batch) for batch in batches] for _ in range(2))
    assert len(calls) == passes
    for one, other in zip(first, again, strict=True):
        assert one.keys() == other.keys() == labels([swap])
        assert all(torch.equal(one[label], other[label]) for label in one)


def test_errors_are_relative_to_what_the_original_gives() -> None:
    program = original()
    student, swap = swapped(program)
    values = Originals(program, labels([swap]))(joined(program, samples(program, 1), 16)[0])
    x, y = values[swap.inputs[0]], values["tanh"]
    expected = float((2 * x - y).norm() / y.norm())
    errors = Blocks(student, [swap]).errors({"scale": torch.full((4,), 2.0)}, [values])
    assert errors == {"tanh": pytest.approx(expected, rel=1e-5)}


def test_stage_two_may_heed_the_blocks() -> None:
    program = original()
    student, swap = swapped(program)

    def block_error(part: float) -> float:
        options = replace(OPTIONS, steps=100, model_part=1.0, blocks_part=part)
        tuned = distil(program, student, [swap], samples(program, 16), options, blocks=False, whole=True)
        return tuned.blocks_after["tanh"]

    assert block_error(10.0) < 0.95 * block_error(0.0)
