"""No integer of a program lies outside the interval that is said of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.analysis.integer_ranges import integer_ranges, of_dtype
from edgeopt.analysis.integer_rules import is_integer
from edgeopt.analysis.intervals import within
from edgeopt.ir.program import Program
from edgeopt.plugins.testing import to_program
from tests.analysis.integer_model import Integers, integers


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(Integers(), tuple(integers(20).values()))


@pytest.mark.parametrize("assumed", [20, 3000])
def test_every_value_lies_within_its_interval(program: Program, assumed: int) -> None:
    ranges = integer_ranges(program, assumed)
    seen = set()

    def check(node: torch.fx.Node, value: object) -> None:
        if is_integer(node) and isinstance(value, torch.Tensor):
            seen.add(node)
            interval = ranges[node] if within(ranges[node], of_dtype(value.dtype)) else of_dtype(value.dtype)
            assert within((int(value.min()), int(value.max())), interval), f"{node.name}: {value} outside {interval}"

    for seed in range(20):
        program.run({name: tensor.numpy() for name, tensor in integers(assumed, seed).items()}, check)
    assert seen == {node for node in program.calls if is_integer(node)} and len(seen) >= 50


def test_what_is_indexed_bounds_an_index() -> None:
    class Indexed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Embedding(30000, 2)
            self.steps = nn.Buffer(torch.arange(5, 9))

        def forward(self, ids: torch.Tensor, free: torch.Tensor) -> dict[str, torch.Tensor]:
            positions = (ids != 3).long().cumsum(1) + self.steps
            return {"rows": self.rows(ids), "positions": positions, "ids": ids + free}

    program = to_program(Indexed(), (torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int32)))
    ranges = {node.name: interval for node, interval in integer_ranges(program, 100).items()}
    assert ranges["ids"] == (0, 29999)
    assert ranges["cumsum"] == (0, 4)
    assert ranges["add"] == (5, 12)
    assert ranges["add_1"] == (-100, 30099)


def test_what_indexes_bounds_all_of_a_value_or_none_of_it() -> None:
    class Indexing(nn.Module):
        def forward(self, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> list[torch.Tensor]:
            chosen, from_end, picked = x.gather(0, (a + 2)), x[b], x.gather(0, c[:1])
            places = torch.nn.functional.max_pool2d(x[None], 2, return_indices=True)[1]
            return [chosen, from_end, picked, a + 0, b + 0, c + 0, places + 0]

    index = torch.zeros(4, 5, dtype=torch.int64)
    program = to_program(Indexing(), (torch.zeros(6, 5), index, index[0], index.clone()))
    ranges = {node.name: interval for node, interval in integer_ranges(program, 100).items()}
    assert ranges["a"] == (-2, 3) and ranges["b"] == (-6, 5) and ranges["c"] == (-100, 100)
    assert ranges[program.results[-1].name] == (0, 29)


def test_what_has_wrapped_may_be_anything_of_its_type() -> None:
    class Wrapped(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + x) // 2

    program = to_program(Wrapped(), (torch.zeros(3, dtype=torch.uint8),))
    ranges = {node.name: interval for node, interval in integer_ranges(program, 2**20).items()}
    assert ranges["add"] == (0, 510)
    assert ranges["floor_divide"][1] <= 128
    assert program.run({"x": np.array([200, 0, 1], np.uint8)})["output"].max() <= 128
