"""Quotients that a model rounds, casts or compares, and remainders: as torch computes them, on every target."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeopt.ir.program import op_name, to_numpy
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino.quotients import rewritten
from tests.passes.builders import Call

ROWS, COLUMNS = torch.meshgrid(torch.arange(1.0, 60.0), torch.arange(1.0, 60.0), indexing="ij")
ENDS = torch.tensor([0.0, 1.0, -1.0, 0.3, -7.5, 5.0, torch.inf, -torch.inf])
STEPS = torch.arange(-40.0, 40.0)


def of_two(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    quotient = x / y
    modes = [torch.div(x, y, rounding_mode=mode) for mode in ("floor", "trunc")]
    rounded = quotient.floor(), quotient.ceil(), quotient.reshape(-1).round(), (quotient * 2 + 1).floor()
    return x // y, x % y, torch.fmod(x, y), *modes, *rounded, quotient >= 1, (x / x.flip(0).flip(0)).floor()


def of_numbers(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    found = [one for step in (0.05, 0.1, 0.3, -0.3) for one in (x // step, x % step, torch.fmod(x, step))]
    return *found, (x / 0.1).floor(), torch.div(x, x.flip(0), rounding_mode="floor"), torch.remainder(1.0, x + 0.5)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_quotients_that_decide_are_those_of_torch(name: str, tmp_path: Path) -> None:
    target = resolve(name)
    if not (probe := target.probe()).found:
        pytest.skip(str(probe.install))
    grid = STEPS[:, None] * torch.tensor([0.05, 0.1, 0.3])
    tall, wide = torch.meshgrid(ENDS, ENDS, indexing="ij")
    operands = (ROWS, COLUMNS, torch.randn(50, 40) * 10, torch.randn(50, 40), tall, wide, grid)

    def of_all(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs = [one for x, y in zip(given[:6:2], given[1:6:2], strict=True) for one in of_two(x, y)]
        whole = (given[0] / given[1]).long()
        return *pairs, *of_numbers(given[6]), whole

    program = to_program(Call(lambda m, *given: of_all(*given)), operands)
    target.compile(program, tmp_path, target.Options())
    feed = {spec.name: to_numpy(value) for spec, value in zip(program.inputs, operands, strict=True)}
    with closing(target.open(tmp_path, target.Options())) as session:
        got = session.run(feed)
    for output, expected in zip(got.values(), of_all(*operands), strict=True):
        np.testing.assert_array_equal(output, to_numpy(expected))


def test_quotients_that_do_not_decide_stay_whole() -> None:
    layer = torch.nn.Linear(4, 4)
    call = Call(lambda m, x: m.layer(x / x.norm(dim=-1, keepdim=True)).relu() / 3 + (x / 8).floor(), layer=layer)
    program = to_program(call, (torch.randn(3, 4),))
    assert rewritten(program) == (program, ())
    assert [op_name(node) for node in program.calls].count("aten.div.Tensor") == 3
