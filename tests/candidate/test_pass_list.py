"""``--add-pass`` and ``--skip-pass`` mean one thing on all targets; the pipelines alone are looked at, nothing runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from edgeopt.calib.data import CALIBRATION
from edgeopt.candidate.options import ExportOptions
from edgeopt.candidate.pass_list import build_passes
from edgeopt.candidate.stages import Request
from edgeopt.errors import UserError
from edgeopt.ir.context import EMPTY, Context
from edgeopt.ir.pass_base import CONSTANTS_FOLDED, STAGES, Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.plugins import registry
from edgeopt.plugins.target import Target, TargetOptions

ON_DATA = EMPTY.adding(CALIBRATION, ())


class Mine(Pass):
    """Another package's pass."""

    name = "mine"
    requires = frozenset({CONSTANTS_FOLDED})

    def run(self, program: Program, context: Context) -> PassResult:
        return PassResult(program.clone(), False)


class Late(Mine):
    """One on what is quantized."""

    name = "late"
    stage = "quantized"


class OnData(Mine):
    """One that needs data."""

    name = "on-data"
    needs = (CALIBRATION,)
    requires = frozenset()


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    known, own = registry.pass_class, {one.name: one for one in (Mine, Late, OnData)}
    monkeypatch.setattr("edgeopt.candidate.pass_list.pass_class", lambda name: own.get(name) or known(name))


def requests() -> Iterator[tuple[Target, TargetOptions]]:
    """Yield every target's first device in every precision."""
    for cls in registry.target_classes().values():
        target = cls(cls.devices()[0])
        for precision in cls.precisions:
            yield target, replace(cls.Options(**target.device.options), precision=precision)


def passes(target: Target, options: TargetOptions, context: Context = ON_DATA, **given: Any[str, ...]) -> list[str]:
    return [one.name for one in build_passes(Request(target, ExportOptions(**given), options), context)]


def test_added_passes_are_the_last_of_their_stage_on_every_target() -> None:
    looked = 0
    for target, options in requests():
        plain = build_passes(Request(target, ExportOptions(), options), ON_DATA)
        stages = [STAGES.index(one.stage) for one in plain]
        assert stages == sorted(stages)
        if not any(CONSTANTS_FOLDED in one.ensures for one in plain):
            continue
        floats = stages.count(0)
        names = [one.name for one in plain]
        assert passes(target, options, add_passes=("late", "mine")) == [
            *names[:floats],
            "mine",
            *names[floats:],
            "late",
        ]
        looked += 1
    assert looked >= 20


def test_what_an_added_pass_requires_is_not_skipped_on_any_target() -> None:
    for target, options in requests():
        if not passes(target, options):
            continue
        with pytest.raises(UserError) as caught:
            passes(target, options, add_passes=("mine",), skip_passes=("fold-constants",))
        assert caught.value.message == (
            "pass 'mine' requires 'constants folded', which the skipped pass 'fold-constants' ensures"
        )
        assert "fold-constants" not in passes(target, options, skip_passes=("fold-constants",))


def test_what_cannot_hold_is_refused_on_every_target() -> None:
    for target, options in requests():
        for name, message in (
            ("insert-qdq", "pass 'insert-qdq' makes a precision"),
            ("weight-only-quantization", "pass 'weight-only-quantization' makes a precision"),
            ("binarize", "pass 'binarize' is tuned on data"),
            ("smooth-quant", "pass 'smooth-quant' is a recovery of int8"),
        ):
            with pytest.raises(UserError) as caught:
                passes(target, options, add_passes=(name,))
            assert caught.value.message == message and caught.value.hint


def test_an_added_pass_is_handed_the_calibration_data_or_refused() -> None:
    target, options = next(one for one in requests() if one[1].precision == "fp32")
    assert "on-data" in passes(target, options, add_passes=("on-data",))
    with pytest.raises(UserError, match="pass 'on-data' needs calibration data") as caught:
        passes(target, options, EMPTY, add_passes=("on-data",))
    assert caught.value.hint == "give samples with --calib"


def test_formats_are_searched_where_there_is_data() -> None:
    target = registry.resolve("reference")
    options = target.Options(precision="fp4")
    assert "fpq-search" in passes(target, options) and "fpq-search" not in passes(target, options, EMPTY)
