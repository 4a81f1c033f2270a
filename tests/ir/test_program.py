from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.errors import PassError
from edgeopt.ir.convert import from_exported, to_exported
from edgeopt.ir.program import Program, same_size
from edgeopt.plugins.testing import to_program
from tests.passes.builders import Call

aten = torch.ops.aten
DYNAMIC = torch.export.Dim.DYNAMIC


@pytest.fixture
def program() -> Program:
    return to_program(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (torch.randn(2, 4),))


def test_text_is_stable(program: Program) -> None:
    assert program.text() == (
        "constant _0_weight:3x4:float32\n"
        "constant _0_bias:3:float32\n"
        "input input:2x4:float32\n"
        "linear = aten.linear(%input, %_0_weight, %_0_bias)\n"
        "relu = aten.relu(%linear)\n"
        "return [%relu]\n"
    )
    assert program.text() == program.clone().text()


def test_run_is_the_module() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    x = torch.randn(2, 4)
    program = to_program(module, (x,))
    (result,) = program.run({"input": x.numpy()}).values()
    assert np.array_equal(result, module(x).detach().numpy())


def test_bfloat16_goes_in_and_out_as_float32() -> None:
    program = to_program(Call(lambda m, x: x * 2), (torch.ones(3).bfloat16(),))
    (result,) = program.run({program.inputs[0].name: np.ones(3, np.float32)}).values()
    assert result.dtype == np.float32 and result.tolist() == [2, 2, 2]


def test_observer_sees_every_operator(program: Program) -> None:
    seen: list[str] = []
    program.run({"input": np.ones((2, 4), np.float32)}, lambda node, value: seen.append(node.name))
    assert seen == ["linear", "relu"]


def test_clone_shares_tensors_and_no_graph(program: Program) -> None:
    clone = program.clone()
    linear = next(clone.calls)
    linear.replace_all_uses_with(linear.all_input_nodes[0])
    assert "linear" in program.text() and clone.constants["_0_weight"] is program.constants["_0_weight"]


def test_fingerprint_sees_graph_and_constants(program: Program) -> None:
    before = program.fingerprint()
    assert before == program.clone().fingerprint()
    program.constants["_0_bias"] = program.constants["_0_bias"].clone()
    assert program.fingerprint() != before


def test_add_constant_makes_the_name_unique(program: Program) -> None:
    node = program.add_constant("_0_bias", torch.ones(3))
    assert node.name == node.target == "_0_bias_1" and program.constant(node) is not None
    assert program.input_nodes[0].prev is node


def test_insert_infers_and_leaves_defaults_out(program: Program) -> None:
    relu = next(node for node in program.calls if node.name == "relu")
    node = program.insert(relu, aten.softmax.int, relu.args[0], 1, None)
    assert node.args[1:] == (1,) and tuple(node.meta["val"].shape) == (2, 3)


def test_clean_removes_what_nothing_reads(program: Program) -> None:
    relu = next(node for node in program.calls if node.name == "relu")
    relu.replace_all_uses_with(program.insert(relu, aten.sum.default, program.input_nodes[0]))
    program.clean()
    assert [node.name for node in program.calls] == ["sum_1"] and program.constants == {}


def test_readers_know_tied_constants() -> None:
    weight = torch.randn(4, 4)
    module = Call(lambda m, x: x * m.a + x @ m.b, a=weight, b=weight)
    program = to_program(module, (torch.randn(4, 4),))
    placeholder = program.node(next(iter(program.constants)))
    assert placeholder is not None and len(program.readers(placeholder)) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.constants.update(ghost=torch.ones(1)), "constants without a placeholder: ghost"),
        (lambda p: next(p.calls).meta.pop("val"), "nodes without a shape: linear"),
        (lambda p: setattr(p, "output_names", ("a", "b")), "1 results for 2 output names"),
        (lambda p: setattr(next(p.calls), "args", (p.results[0],)), "the graph is malformed"),
    ],
)
def test_verify_names_what_is_broken(program: Program, damage: Any, message: str) -> None:
    damage(program)
    with pytest.raises(PassError, match=message):
        program.verify()


def test_dynamic_dimensions() -> None:
    program = to_program(Call(lambda m, x: x + 1), (torch.randn(2, 4),), (({0: DYNAMIC},),))
    (spec,) = program.inputs
    size = program.input_nodes[0].meta["val"].shape[0]
    assert program.is_dynamic and isinstance(spec.shape[0], str) and spec.shape[1] == 4
    assert same_size(size, size) and not same_size(size, 4) and same_size(2 * size, size + size)


def test_a_functional_program_is_not_changed_by_being_made_functional() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3))
    exported = to_exported(to_program(module.eval(), [torch.randn(2, 1, 4, 4)]))
    assert exported.dialect == "ATEN"
    again = exported.run_decompositions({})
    assert from_exported(exported).fingerprint() == from_exported(again).fingerprint()
