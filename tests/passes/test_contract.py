"""What passes declare, and what follows from it: order, needs, requirements, and that a pass is a value."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.calib.data import CALIBRATION
from edgeopt.errors import PassError, UserError
from edgeopt.ir.context import EMPTY, SAMPLES, Context
from edgeopt.ir.pass_base import INTEGER_LAYERS, STAGES, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.passes.order import adding, check_requirements, check_stages, skipping
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.bias_correction import BiasCorrection
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.plugins import registry
from edgeopt.plugins.testing import to_program


@dataclasses.dataclass(frozen=True)
class Plain(Pass):
    """A pass that leaves the program as it is."""

    name = "plain"

    def run(self, program: Program, context: Context) -> PassResult:
        return PassResult(program.clone(), False)


def declared(name: str, **attributes: Any) -> Pass:
    """Return a pass of this name that declares ``attributes``."""
    made: Pass = type("Declared", (Plain,), {"name": name, **attributes})()
    return made


def names(passes: list[Pass]) -> list[str]:
    return [one.name for one in passes]


MAKES = declared("makes", ensures=frozenset({"flat"}))
WANTS = declared("wants", requires=frozenset({"flat"}))
ROUNDS = declared("rounds", stage="quantize")
AFTER = declared("after", stage="quantized")


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(nn.Linear(4, 4), (torch.zeros(1, 4),))


@pytest.mark.parametrize("name", registry.pass_names())
def test_a_pass_is_a_frozen_value_with_a_legal_declaration(name: str) -> None:
    cls = registry.pass_class(name)
    assert issubclass(cls, Pass) and cls.name == name
    assert cls.stage in STAGES and not cls.requires & cls.ensures
    settings = {one.name: None for one in dataclasses.fields(cls) if one.default is one.default_factory}
    assert cls(**settings) == cls(**settings)
    assert vars(cls(**settings)).keys() == settings.keys() | {one.name for one in dataclasses.fields(cls)}


def test_what_is_added_is_the_last_of_its_stage() -> None:
    passes = [MAKES, ROUNDS, AFTER]
    added = [declared("late", stage="quantized"), declared("early")]
    assert names(adding(passes, added)) == ["makes", "early", "rounds", "after", "late"]


def test_stages_do_not_go_back() -> None:
    with pytest.raises(UserError, match="pass 'makes' of stage 'float' stands after 'rounds' of stage 'quantize'"):
        check_stages([ROUNDS, MAKES])


def test_a_requirement_is_met_by_a_pass_before_or_by_the_program() -> None:
    check_requirements([MAKES, WANTS])
    check_requirements([WANTS], frozenset({"flat"}))
    for wrong in ([WANTS], [WANTS, MAKES]):
        with pytest.raises(UserError, match="pass 'wants' requires 'flat', and no pass before it ensures that"):
            check_requirements(wrong)


def test_what_another_requires_is_not_skipped() -> None:
    assert names(skipping([MAKES, WANTS, AFTER], {"after"})) == ["makes", "wants"]
    assert names(skipping([MAKES, WANTS, AFTER], {"makes", "wants"})) == ["after"]
    assert names(skipping([MAKES, declared("other", ensures=frozenset({"flat"})), WANTS], {"makes"})) == [
        "other",
        "wants",
    ]
    with pytest.raises(UserError) as caught:
        skipping([MAKES, WANTS], {"makes"})
    assert caught.value.message == "pass 'wants' requires 'flat', which the skipped pass 'makes' ensures"
    assert caught.value.hint == "skip 'wants' as well, or neither"


def test_nothing_runs_where_a_later_pass_cannot(program: Program) -> None:
    ran: list[str] = []
    needs = declared("needs", needs=(CALIBRATION,))
    for passes, message in (
        ([MAKES, needs], "pass 'needs' needs calibration data"),
        ([Plain(), WANTS], "requires 'flat'"),
    ):
        with pytest.raises(UserError, match=message):
            Pipeline(passes, on_pass=lambda record, _: ran.append(record.name)).run(program)
    assert not ran


def test_alone_a_pass_is_held_to_its_declaration_too(program: Program) -> None:
    with pytest.raises(UserError, match="needs samples") as caught:
        declared("fits", needs=(SAMPLES,))(program)
    assert caught.value.hint == SAMPLES.remedy
    with pytest.raises(PassError, match="wants requires flat"):
        WANTS(program)
    assert WANTS(MAKES(program).program).program.ensured == {"flat"}
    assert program.ensured == frozenset()


def test_recoveries_want_layers_on_integers(program: Program) -> None:
    assert BiasCorrection.requires == {INTEGER_LAYERS}
    with pytest.raises(UserError, match="pass 'bias-correction' requires 'layers on integers'"):
        Pipeline([BiasCorrection()]).run(program)


def test_weights_are_not_rounded_again_that_an_earlier_run_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeopt.ir.selective import FITS, FittedResult

    program = to_program(nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)), (torch.zeros(1, 32),))
    step = WeightOnlyQuantization("mxfp4")
    first = step(program)
    assert isinstance(first, FittedResult)
    monkeypatch.setattr(WeightOnlyQuantization, "rounded", lambda *_: pytest.fail("rounded again"))
    kept = WeightOnlyQuantization("mxfp4", keep={"linear"})
    again = kept(program, EMPTY.adding(FITS, {step: first.fits})).program
    (stored,) = [node for node in again.calls if "dequantize_blocks" in str(node.target)]
    assert [reader.name for reader in stored.users] == ["linear_1"]
    for name, value in again.constants.items():
        if "codes" in name:
            torch.testing.assert_close(value, first.program.constants[name])


class Remembering(Plain):
    """A pass that keeps what it saw."""

    def run(self, program: Program, context: Context) -> PassResult:
        vars(self)["seen"] = program
        return super().run(program, context)


def test_a_pass_that_keeps_something_is_caught(program: Program) -> None:
    with pytest.raises(PassError, match="plain kept something of this run"):
        Pipeline([Remembering()]).run(program)


def test_what_was_ensured_is_carried_on(program: Program) -> None:
    folded = Pipeline([FoldConstants()]).run(program)[0]
    assert folded.ensured == FoldConstants.ensures == folded.clone().ensured
