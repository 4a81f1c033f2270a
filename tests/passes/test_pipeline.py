from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.analysis.accuracy_tracker import AccuracyTracker
from edgeopt.errors import PassError
from edgeopt.ir.context import Context
from edgeopt.ir.nodes import shape_of
from edgeopt.ir.pass_base import Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import to_program
from edgeopt.records.passes import PassRecord
from tests.passes.builders import randomized
from tests.typed import some

aten = torch.ops.aten


@dataclass(frozen=True)
class EditPass(Pass):
    """A pass that edits a copy and claims what it is told to claim."""

    edit: Callable[[Program], object]
    changed: bool = True

    def run(self, program: Program, context: Context) -> PassResult:
        copy = program.clone()
        self.edit(copy)
        return PassResult(copy, self.changed)


def edited(edit: Callable[[Program], object], changed: bool = True, name: str = "edit", **declared: Any) -> Pass:
    """Return the pass of this name with the class attributes ``declared``."""
    found: Pass = type("Edit", (EditPass,), {"name": name, **declared})(edit, changed)
    return found


def nothing(program: Program) -> None:
    """Leave the program as it is."""


def scale_bias(factor: float) -> Callable[[Program], object]:
    def edit(program: Program) -> None:
        program.constants["_1_bias"] = program.constants["_1_bias"] * factor

    return edit


def add_dead_code(program: Program) -> None:
    program.insert(program.results[0], aten.relu.default, program.input_nodes[0])


@pytest.fixture
def program() -> Program:
    module = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3))
    return to_program(randomized(module), (torch.randn(2, 4),))


@pytest.fixture
def tracker(program: Program) -> AccuracyTracker:
    generator = np.random.default_rng(0)
    return AccuracyTracker(program, [{"input": generator.normal(size=(2, 4)).astype(np.float32)} for _ in range(3)])


def test_records_what_each_pass_did(program: Program, tracker: AccuracyTracker) -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    def on_pass(record: PassRecord, after: Program) -> None:
        seen.append((record.name, after.history))

    passes = [edited(nothing, changed=False, name="one"), edited(scale_bias(1.0), name="two")]
    final, records = Pipeline(passes, tracker, on_pass).run(program)
    assert seen == [("one", ("one",)), ("two", ("one", "two"))] and final.history == ("one", "two")
    assert [record.changed for record in records] == [False, True]
    assert all(record.error is not None and record.error.max_abs == 0 for record in records)
    assert program.history == ()


@pytest.mark.parametrize(
    ("edit", "changed", "message"),
    [
        (nothing, True, "edit says changed, yet the graph is the same"),
        (scale_bias(1.0), False, "edit says unchanged, yet the graph is different"),
        (add_dead_code, True, "edit says changed, yet the graph is the same"),
    ],
)
def test_false_claims_are_caught(program: Program, edit: Callable[..., Any], changed: bool, message: str) -> None:
    with pytest.raises(PassError, match=message):
        Pipeline([edited(edit, changed)])(program)


def test_a_pass_may_not_write_into_what_it_was_given(program: Program) -> None:
    def spoil(_: Program) -> None:
        program.constants["_1_bias"].add_(1)

    with pytest.raises(PassError, match="edit changed the program it was given"):
        Pipeline([edited(spoil)])(program)


def test_an_exact_pass_above_its_bound_is_named(program: Program, tracker: AccuracyTracker) -> None:
    passes = [edited(nothing, changed=False, name="first"), edited(scale_bias(1.01), name="wrong")]
    with pytest.raises(PassError) as caught:
        Pipeline(passes, tracker).run(program)
    error = caught.value
    assert error.message.startswith("pass wrong failed: it is exact, yet changed the outputs by ")
    assert "first at node linear_1 (relative error" in error.message
    assert error.message.endswith("(passes already run: first)")
    assert error.hint == "run again with --skip-pass wrong and report the model"
    assert error.last_good is not None and error.last_good.history == ("first",)


def test_nan_is_above_every_bound(program: Program, tracker: AccuracyTracker) -> None:
    with pytest.raises(PassError, match="it is exact, yet"):
        Pipeline([edited(scale_bias(float("nan")))], tracker).run(program)


def test_a_lossy_pass_is_measured_only(program: Program, tracker: AccuracyTracker) -> None:
    passes = [edited(scale_bias(1.01), kind="calibrated", name="lossy"), edited(nothing, changed=False, name="exact")]
    _, (lossy, exact) = Pipeline(passes, tracker).run(program)
    assert lossy.error is not None and lossy.error.relative > 1e-4
    # The exact pass inherits the error; that is against the original, whereas its bound is against its input.
    assert exact.error == lossy.error


def test_a_broken_program_is_caught(program: Program) -> None:
    def drop_output_name(copy: Program) -> None:
        copy.output_names = ()

    with pytest.raises(PassError, match="pass edit failed: 1 results for 0 output names"):
        Pipeline([edited(drop_output_name)])(program)


def test_the_driver_removes_dead_code_and_infers_shapes(program: Program) -> None:
    def edit(copy: Program) -> None:
        add_dead_code(copy)
        relu = next(node for node in copy.calls if node.target is aten.relu.default and node.users)
        with copy.graph.inserting_after(relu):
            node = copy.graph.call_function(aten.neg.default, (relu,))
        relu.replace_all_uses_with(node, delete_user_cb=lambda reader: reader is not node)

    final, _ = Pipeline([edited(edit)]).run(program)
    names = [node.name for node in final.calls]
    assert names == ["linear", "linear_1", "relu", "neg_default", "linear_2"]
    negated = final.node("neg_default")
    assert negated is not None and shape_of(negated) == (2, 5)


def test_divergence_skips_nodes_that_were_redefined() -> None:
    module = randomized(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    program = to_program(module, (torch.randn(2, 3, 5, 5),))
    tracker = AccuracyTracker(program, [{"input": torch.randn(2, 3, 5, 5).numpy()}])
    final, _ = Pipeline([step.build() for step in EXACT], tracker).run(program)
    wrong = final.clone()
    name = next(name for name in wrong.constants if "3_bias" in name)
    wrong.constants[name] = wrong.constants[name] + 1
    assert tracker.first_divergence(program, wrong).startswith("conv2d_1 ")


class Signs(nn.Module):
    """One value of many lies so near to zero that the rounding of a factor decides its sign."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([3.0]))
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.sign(x * self.factor - 1.0))


def nudge(program: Program) -> None:
    program.constants["factor"] = torch.nextafter(program.constants["factor"], torch.tensor([0.0]))


def turn(program: Program) -> None:
    program.constants["head_weight"] = program.constants["head_weight"].neg()


def test_a_sign_that_rounding_decides_is_no_error_but_a_wrong_layer_after_it_is() -> None:
    x = np.linspace(-1, 2, 8, dtype=np.float32)[None]
    third = np.float32(1 / 3)
    x[0, 3] = third if np.float32(3) * third >= 1 else np.nextafter(third, np.float32(1))
    program = to_program(Signs(), (torch.from_numpy(x),))
    tracker = AccuracyTracker(program, [{"x": x}])
    _, (record,) = Pipeline([edited(nudge)], tracker).run(program)
    assert some(record.error).relative > 1e-2
    with pytest.raises(PassError, match="first at node linear"):
        Pipeline([edited(turn)], AccuracyTracker(program, [{"x": x}])).run(program)
    with pytest.raises(PassError, match="first at node linear"):
        Pipeline([edited(nudge), edited(turn)], AccuracyTracker(program, [{"x": x}])).run(program)
