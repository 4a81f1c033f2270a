"""Integers beyond 2^53 on ONNX Runtime, which computes some operators in double, are torch's; others stay whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgeopt.ir.program import to_numpy
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.targets.onnx.integers import rewritten
from tests.passes.builders import Call

WIDE = torch.randint(2**54, 2**55, (3, 5, 2), generator=torch.Generator().manual_seed(0))
NARROW, EXPONENTS = WIDE % 1001 - 500, WIDE % 13 - 4
_EXACT: dict[str, Callable[..., torch.Tensor]] = {
    "sum of all": lambda wide, narrow, exponents: wide.sum(),
    "sum along one": lambda wide, narrow, exponents: wide.sum(1),
    "sum along two": lambda wide, narrow, exponents: wide.sum((0, -1), keepdim=True),
    "sum of one": lambda wide, narrow, exponents: wide[:, :1].sum(1),
    "sum that wraps": lambda wide, narrow, exponents: (wide * 512).sum(1),
    "product of all": lambda wide, narrow, exponents: (narrow % 5 + 1).prod(),
    "product along one": lambda wide, narrow, exponents: narrow.prod(1, keepdim=True),
    "product that wraps": lambda wide, narrow, exponents: wide.prod(0),
    "power": lambda wide, narrow, exponents: narrow**7,
    "power of none": lambda wide, narrow, exponents: wide**0,
    "power of powers": lambda wide, narrow, exponents: narrow.pow(exponents),
    "power of a number": lambda wide, narrow, exponents: torch.pow(-3, exponents * 5),
    "power of one and less": lambda wide, narrow, exponents: (narrow % 4 - 2).pow(exponents * 8),
}


def test_integers_beyond_double_are_exact(tmp_path: Path) -> None:
    target = resolve("onnx")
    if not (probe := target.probe()).found:
        pytest.skip(str(probe.install))
    operands = (WIDE, NARROW, EXPONENTS)
    module = Call(lambda m, *x: {str(place): case(*x) for place, case in enumerate(_EXACT.values())})
    program = to_program(module, operands)
    target.compile(program, tmp_path, target.Options())
    with closing(target.open(tmp_path, target.Options())) as session:
        feed = {spec.name: to_numpy(x) for spec, x in zip(program.inputs, operands, strict=True)}
        results = session.run(feed)
    wrong = {
        name
        for (name, case), got in zip(_EXACT.items(), results.values(), strict=True)
        if not np.array_equal(to_numpy(case(*operands)), got)
    }
    assert not wrong
    # ReduceSum, ReduceProd and Pow are not what computes them.
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert not kinds & {"ReduceSum", "ReduceProd", "Pow"}


def test_a_dynamic_dimension_stays_dynamic() -> None:
    program = to_program(Call(lambda m, x: x.sum(0)), (WIDE,), (({0: torch.export.Dim.DYNAMIC},),))
    (got,) = rewritten(program).run({program.inputs[0].name: to_numpy(WIDE.repeat(3, 1, 1))}).values()
    assert np.array_equal(got, to_numpy(WIDE.sum(0) * 3))


def test_what_is_known_to_fit_stays_whole() -> None:
    bounded = Call(lambda m, x: ((x > 0).sum(1), (x % 100).sum(1), (x % 100) ** 3, x.float().sum(1)))
    program = to_program(bounded, (WIDE,))
    assert rewritten(program) is program
