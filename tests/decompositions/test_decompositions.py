"""Decompositions: what is written out equals the operator, computes shapes here, and leaves usual forms whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgeopt.decompositions import TABLE, write_out
from edgeopt.ir.attribution import marked
from edgeopt.ir.program import Program, op_name, to_numpy
from edgeopt.onnx import exportable
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from tests.operators import modules
from tests.operators.judge import difference
from tests.operators.runner import traced
from tests.passes.builders import Call

IMAGE = torch.randn(2, 3, 9, 8)


def written(program: Program) -> Program:
    program = program.clone()
    write_out(program)
    program.clean()
    program.verify()
    return program


EVERY = 6
"""One case of so many is written out here and run in torch; all of them run on targets in ``tests/operators``."""


def test_forms_written_out_equal_torch() -> None:
    group = traced(list(modules.cases())[::EVERY])[0][0]
    program = written(group.program)
    assert {node.target for node in group.program.calls} & set(TABLE) - {node.target for node in program.calls}
    results = program.run(group.feed)
    for index, case in group.cases.items():
        expected = case.expected()
        for place, (wanted, noise) in enumerate(zip(expected, case.noise(expected), strict=True)):
            fault = difference(wanted, results[f"output_{index}_{place}"], noise)
            assert fault is None, f"{case.name}: {fault}"


WHOLE: list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = [
    ("aten.avg_pool2d", lambda x: F.avg_pool2d(x, 3, 2, 1)),
    ("aten.avg_pool2d", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    ("aten.upsample_bilinear2d.vec", lambda x: F.interpolate(x, size=5, mode="bilinear", align_corners=True)),
    ("aten.scaled_dot_product_attention", lambda x: F.scaled_dot_product_attention(x, x, x)),
    ("aten.softmax.int", lambda x: x.softmax(-1, dtype=torch.float32)),
    ("aten.pad", lambda x: F.pad(x, (1, 2, 0, 0), mode="reflect")),
    ("aten.pad", lambda x: F.pad(x, (-1, 2, 0, 0), mode="circular")),
    ("aten.sum.dim_IntList", lambda x: x.sum(1)),
    ("aten.gather", lambda x: x.gather(0, torch.zeros(1, 3, 9, 8, dtype=torch.int64))),
]


@pytest.mark.parametrize(("name", "function"), WHOLE)
def test_usual_forms_stay_whole(name: str, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    program = to_program(Call(lambda m, x: function(x)), (IMAGE,))
    assert not write_out(program)
    assert name in {op_name(node) for node in program.calls}


@pytest.mark.parametrize("widths", [(1, 2, 3, 0), (0, 1, 2, 2), (8, 8, 0, 9)])
def test_padding_from_the_other_end_is_written_out(widths: tuple[int, ...]) -> None:
    program = to_program(Call(lambda m, x: F.pad(x, widths, mode="circular")), (IMAGE,))
    (name,) = (one.name for one in program.inputs)
    (got,) = written(program).run({name: to_numpy(IMAGE)}).values()
    np.testing.assert_array_equal(got, to_numpy(F.pad(IMAGE, widths, mode="circular")))
    assert "aten.pad" not in {op_name(node) for node in written(program).calls}


def test_attention_under_a_constant_mask_that_hides_no_row_stays_whole() -> None:
    attend = F.scaled_dot_product_attention
    shown, hidden = torch.ones(9, 9).tril().bool(), torch.zeros(9, 9, dtype=torch.bool)
    for mask, is_written in ((shown, False), (hidden, True)):
        program = to_program(Call(lambda m, x: attend(x, x, x, m.mask), mask=mask), (IMAGE,))
        assert write_out(program) is is_written


def test_what_depends_on_shapes_alone_is_a_constant() -> None:
    program = to_program(Call(lambda m, x: F.interpolate(x, size=(5, 13), mode="bilinear", antialias=True)), (IMAGE,))
    program = written(program)
    assert sorted(tuple(tensor.shape) for tensor in program.constants.values()) == [(5, 9), (8, 13)]
    assert all("matmul" in op_name(node) for node in program.calls)


def test_parts_bear_the_name_of_the_operator() -> None:
    program = to_program(Call(lambda m, x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5)), (IMAGE,))
    assert {marked(node) for node in exportable(program).graph.nodes if node.op == "call_function"} == {"avg_pool2d"}


def test_a_dynamic_batch_stays_dynamic() -> None:
    module = Call(lambda m, x: F.avg_pool2d(F.logsigmoid(x), 3, 2, 1, ceil_mode=True))
    program = written(to_program(module, (IMAGE,), (({0: torch.export.Dim.DYNAMIC},),)))
    sample = torch.randn(5, 3, 9, 8)
    (got,) = program.run({program.inputs[0].name: to_numpy(sample)}).values()
    torch.testing.assert_close(torch.from_numpy(got), module(sample))


def test_sizes_beside_tensors_are_outputs_of_their_own() -> None:
    class Sized(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, object]:
            return {"more": x + 1, "rows": x.shape[0], "twice": x * 2}

    program = to_program(Sized(), (torch.randn(3, 4),), ({0: torch.export.Dim.DYNAMIC},))
    assert program.output_names == ("more", "rows", "twice")
    assert program.run({"x": to_numpy(torch.randn(7, 4))})["rows"] == 7


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_what_no_plain_form_is_known_for_is_refused(name: str) -> None:
    program = to_program(Call(lambda m, x: torch.special.log_ndtr(x)), (IMAGE,))
    target = resolve(name)
    placements = target.lower(program, target.Options()).unsupported
    assert [(p.node, p.op) for p in placements] == [("special_log_ndtr", "aten.special_log_ndtr")]


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_convolution_of_points_with_padding_and_stride_behind_another_operator(name: str, tmp_path: Path) -> None:
    target = resolve(name)
    if not (probe := target.probe()).found:
        pytest.skip(str(probe.install))
    module = nn.ModuleList([nn.Conv1d(3, 4, 1, 2, 1), nn.Conv2d(3, 6, 1, (2, 1), (1, 4), groups=3)])
    call = Call(lambda m, x: (m.layers[0](x[:, :, 0].relu()), m.layers[1](x.relu())), layers=module)
    program = to_program(call, (IMAGE,))
    assert "aten.slice.Tensor" in {op_name(node) for node in written(program).calls}
    options = target.Options()
    target.compile(program, tmp_path, options)
    feed = {program.inputs[0].name: to_numpy(IMAGE)}
    with closing(target.open(tmp_path, options)) as session:
        got = session.run(feed)
    for output, expected in program.run(feed).items():
        assert difference(expected, got[output], 0.0) is None
