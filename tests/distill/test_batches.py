from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.distill.batches import HELD_OUT_MOST, joined, split
from edgeopt.errors import UserError
from edgeopt.ir.metrics import Sample
from edgeopt.plugins.testing import to_program


def samples(count: int, width: int = 4) -> list[Sample]:
    return [{"input": np.full((1, width), index, np.float32)} for index in range(count)]


@pytest.mark.parametrize(("count", "held"), [(2, 1), (7, 1), (16, 2), (64, 8), (5000, 63)])
def test_some_are_held_out(count: int, held: int) -> None:
    training, held_out = split(samples(count))
    assert len(held_out) == held <= HELD_OUT_MOST and len(training) == count - held
    values = {float(s["input"][0, 0]) for s in (*training, *held_out)}
    assert len(values) == count


@pytest.mark.parametrize("count", [0, 1])
def test_one_is_too_few(count: int) -> None:
    with pytest.raises(UserError, match=f"{count} samples to tune on"):
        split(samples(count))


def test_batches_are_as_large_as_the_model_takes() -> None:
    fixed = to_program(nn.Linear(4, 2), (torch.zeros(1, 4),))
    free = to_program(nn.Linear(4, 2), (torch.zeros(2, 4),), ({0: torch.export.Dim("batch", min=1, max=6)},))
    sizes = [[len(batch.values["input"]) for batch in joined(one, samples(16), 8)] for one in (fixed, free)]
    assert sizes == [[1] * 16, [6, 6, 4]]
    assert joined(free, samples(6), 8)[0].values["input"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_samples_of_different_shapes_are_not_joined() -> None:
    dims = ({0: torch.export.Dim("batch", min=1, max=8), 1: torch.export.Dim("width", min=2, max=9)},)
    program = to_program(nn.ReLU(), (torch.zeros(2, 4),), dims)
    batches = joined(program, [*samples(3, 4), *samples(3, 5)], 8)
    assert [tuple(batch.values["input"].shape) for batch in batches] == [(3, 4), (3, 5)]
