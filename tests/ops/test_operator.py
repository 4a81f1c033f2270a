"""The descriptor of an operator: what is refused, who asks it, and operators of other packages."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint

import pytest
import torch

import edgeopt.ops
from edgeopt.analysis.accuracy_tracker import decides, is_binary
from edgeopt.analysis.macs import count_macs
from edgeopt.errors import UserError
from edgeopt.ops import register_all
from edgeopt.ops.operator import OPERATORS, Operator, operator_of, register
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import Call


@torch.library.custom_op("edgeopt_tests::halved", mutates_args=())
def halved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight / 2


@halved.register_fake
def _(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[-1]))


NAME = "edgeopt_tests::halved"
X, WEIGHT = torch.randn(2, 3, 4), torch.randn(4, 5)


def known_to_torch() -> set[str]:
    names = {name.split(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    return {name for name in names if name.startswith("edgeopt::") and not name.startswith("edgeopt::test_")}


def test_every_operator_has_a_descriptor() -> None:
    register_all()
    names = known_to_torch()
    assert len(names) > 10 and names <= set(OPERATORS)
    for name in names:
        assert operator_of(OPERATORS[name].overload) is OPERATORS[name]


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Operator("edgeopt_tests::absent"), "torch has no operator 'edgeopt_tests::absent'"),
        (Operator("halved"), "torch has no operator 'halved'"),
        (Operator(NAME, stored_weight="w"), f"operator '{NAME}' has no argument 'w': x, weight"),
    ],
)
def test_refuses(operator: Operator, message: str) -> None:
    register_all()
    with pytest.raises(ValueError, match=message):
        register(operator)
    assert OPERATORS.get(operator.name) is not operator


def test_a_name_that_is_taken_is_told_with_who_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a second package's module does as it is imported.
    monkeypatch.setattr(EntryPoint, "load", lambda self: register(Operator("edgeopt::quantize")))
    monkeypatch.setattr(edgeopt.ops, "entry_points", lambda group: [entry("theirs", "edgeopt_theirs:QUANTIZE")])
    register_all.cache_clear()
    with pytest.raises(
        UserError, match="'edgeopt::quantize' is defined twice, the last time by edgeopt_theirs:QUANTIZE"
    ):
        register_all()


def describe(monkeypatch: pytest.MonkeyPatch, operator: Operator) -> None:
    monkeypatch.setattr(edgeopt.ops.operator, "OPERATORS", {**OPERATORS})
    assert register(operator) is operator


@pytest.mark.parametrize("is_discontinuous", [False, True])
def test_decides_where_the_descriptor_says_so(monkeypatch: pytest.MonkeyPatch, is_discontinuous: bool) -> None:
    program = to_program(Call(lambda m, x: halved(x, m.weight), weight=WEIGHT), [X])
    assert not is_binary(program)
    describe(monkeypatch, Operator(NAME, is_discontinuous=is_discontinuous))
    assert is_binary(program) is decides(program) is is_discontinuous


def test_macs_are_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    program = to_program(Call(lambda m, x: halved(x, m.weight), weight=WEIGHT), [X])
    sample = {program.inputs[0].name: X.numpy()}
    assert count_macs(program, sample) == {}
    describe(monkeypatch, Operator(NAME, macs=lambda a: a["result"][-1] * a["x"][-1] * 6))
    assert list(count_macs(program, sample).values()) == [2 * 3 * 4 * 5]


@pytest.mark.parametrize("stored", [None, "weight"])
def test_a_stored_weight_is_not_folded(monkeypatch: pytest.MonkeyPatch, stored: str | None) -> None:
    model = Call(lambda m, x: x + halved(m.rows, m.weight), rows=X[0], weight=WEIGHT)
    describe(monkeypatch, Operator(NAME, stored_weight=stored))
    assert_pass(FoldConstants(), model, [torch.randn(3, 5)], changes=stored is None)


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, edgeopt.ops.GROUP)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("edgeopt_absent:X", "operator 'theirs' cannot be imported: No module named 'edgeopt_absent'; reinstall the"),
        ("edgeopt.ops.quantize:ABSENT", "operator 'theirs' cannot be imported: module 'edgeopt.ops.quantize' has no"),
        ("edgeopt.ops.quantize:quantize", "operator 'theirs' is a CustomOpDef, not an Operator; name what register()"),
    ],
)
def test_what_cannot_be_imported_is_left_out_with_one_sentence(
    value: str, sentence: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(edgeopt.ops, "entry_points", lambda group: [entry("theirs", value)])
    register_all.cache_clear()
    with caplog.at_level(logging.WARNING):
        register_all()
        register_all()
    (record,) = caplog.records
    assert record.getMessage().startswith(sentence) and "\n" not in record.getMessage()
