from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx

from edgeopt.errors import PassError
from edgeopt.ir.program import Program, origin
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, any_, arguments, const, match, op
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import Call, reasons

aten = torch.ops.aten
X = torch.randn(2, 3)


def traced(function: Any, **parts: torch.Tensor) -> Program:
    return to_program(Call(function, **parts), (X,))


def found(program: Program, pattern: Pattern) -> Match | None:
    return next((m for node in program.calls if (m := match(program, pattern, node)) is not None), None)


class ExpOfLog(Rule):
    """exp(log(x)) => x, for what is named positive."""

    def pattern(self) -> Pattern:
        return op(aten.exp.default, self=op(aten.log.default, name="log", self=any_("x")))

    def check(self, program: Program, m: Match) -> str | None:
        return None if m["x"].target is aten.abs.default else f"{m['x'].name} may be negative"

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        found: fx.Node = m["x"]
        return found


class Cancel(Rewrite):
    name = "cancel"
    rules = (ExpOfLog(),)


def test_match_binds_names() -> None:
    program = traced(lambda m, x: torch.exp(torch.log(x)))
    m = found(program, ExpOfLog().pattern())
    assert m is not None and m["x"].name == "inputs_0" and m["log"].name == "log" and m.root.name == "exp"


def test_constants_match_constants_only() -> None:
    program = traced(lambda m, x: x * m.c + x * x, c=torch.ones(3))
    m = found(program, op(aten.mul.Tensor, self=any_("x"), other=const("c")))
    assert m is not None and m["c"].name == "c"
    assert found(program, op(aten.add.Tensor, self=any_("x"), other=const("c"))) is None


def test_commutative_tries_both_orders() -> None:
    program = traced(lambda m, x: m.c * x, c=torch.ones(3))
    drawn: dict[str, Any] = {"self": any_("x"), "other": const("c")}
    assert found(program, op(aten.mul.Tensor, **drawn)) is None
    m = found(program, op(aten.mul.Tensor, commutative=True, **drawn))
    assert m is not None and m["x"].name == "inputs_0"


def test_optional_constant_may_be_absent() -> None:
    program = traced(lambda m, x: torch.nn.functional.linear(x, m.w), w=torch.ones(4, 3))
    pattern = op(aten.linear.default, weight=const("w"), bias=const("b", optional=True))
    m = found(program, pattern)
    assert m is not None and m["b"] is None
    assert found(program, op(aten.linear.default, weight=const("w"), bias=const("b"))) is None


def test_where_narrows_and_no_target_means_any() -> None:
    program = traced(lambda m, x: torch.exp(x).sum(1))
    m = found(program, op(where=lambda program, node: node.meta["val"].dim() == 1))
    assert m is not None and m.root.name == "sum_1"


def test_arguments_have_defaults_filled_in() -> None:
    program = traced(lambda m, x: x.sum(1))
    assert arguments(next(program.calls)) == {
        "self": program.input_nodes[0], "dim": [1], "keepdim": False, "dtype": None,
    }  # fmt: skip


def test_applies_and_stands_for_the_root() -> None:
    program = traced(lambda m, x: torch.exp(torch.log(x.abs())) + 1)
    result = assert_pass(Cancel(), program, (X,), changes=True)
    assert [node.name for node in result.program.calls] == ["abs_1", "add"]
    assert [note.rule for note in result.notes] == ["exp-of-log"]
    assert origin(next(result.program.calls)) == "abs_1"


def test_refusals_are_kept() -> None:
    result = assert_pass(Cancel(), traced(lambda m, x: torch.exp(torch.log(x + 10))), (X,), changes=False)
    assert reasons(result) == ["add may be negative"] and result.notes[0].node == "exp"


def test_interior_that_is_read_elsewhere_is_refused() -> None:
    program = traced(lambda m, x: torch.exp(y := torch.log(x.abs())) + y)
    result = assert_pass(Cancel(), program, (X,), changes=False)
    assert reasons(result) == ["log is also read by add"]


def test_a_chain_takes_one_run() -> None:
    program = traced(lambda m, x: torch.exp(torch.log(torch.exp(torch.log(x.abs())))))
    result = assert_pass(Cancel(), program, (X,), changes=True)
    assert len([note for note in result.notes if note.reason is None]) == 2


class Flip(Rule):
    """sin => cos, cos => sin."""

    def pattern(self) -> Pattern:
        return op(aten.sin.default, aten.cos.default)

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        target = aten.cos.default if m.root.target is aten.sin.default else aten.sin.default
        return program.insert(m.root, target, m.root.args[0])


class Total(Rule):
    """exp(x) => sum(x), which has another shape."""

    def pattern(self) -> Pattern:
        return op(aten.exp.default)

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        return program.insert(m.root, aten.sum.default, m.root.args[0])


def with_rules(*rules: Rule) -> Rewrite:
    found: Rewrite = type("Ad", (Rewrite,), {"name": "ad-hoc", "rules": rules})()
    return found


def test_rules_that_undo_each_other_end() -> None:
    with pytest.raises(PassError, match="ad-hoc still rewrites after 100 sweeps"):
        with_rules(Flip())(traced(lambda m, x: torch.sin(x)))


def test_a_replacement_keeps_shape_and_dtype() -> None:
    with pytest.raises(PassError, match="replaced exp:2x3:float32 by sum_1:scalar:float32"):
        with_rules(Total())(traced(lambda m, x: torch.exp(x)))
