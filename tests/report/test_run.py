"""The record survives JSON, judges its limits and refuses what is not a report."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgeopt.errors import UserError
from edgeopt.ir.pass_base import Note
from edgeopt.records.latency import SAMPLES_KEPT, Latency
from edgeopt.records.layers import Layer, executed_precision
from edgeopt.records.outputs import NOT_FINITE, Error
from edgeopt.records.passes import PassRecord
from edgeopt.records.quantization import GateAttempt, LayerSensitivity, PairedLayer, Quantization
from edgeopt.records.run import Run
from tests.report.conftest import limit

FORM = TypeAdapter(Error)


def test_roundtrip(run: Run) -> None:
    assert Run.from_json(run.to_json()) == run


@pytest.mark.parametrize(
    "error",
    [
        Error(0.0, 0.0, math.inf, 1.0),
        Error(2.0, math.inf, -math.inf, 0.0),
        Error(0.5, 0.25, 12.0, 0.97),
    ],
)
def test_infinities_survive_json(error: Error) -> None:
    assert FORM.validate_json(FORM.dump_json(error)) == error


def test_an_error_without_a_number_survives_json() -> None:
    text = FORM.dump_json(NOT_FINITE)
    assert json.loads(text) == {"max_abs": None, "relative": None, "sqnr_db": None, "cosine": None}
    again = FORM.validate_json(text)
    assert (again.max_abs, again.relative, again.sqnr_db) == (math.inf, math.inf, -math.inf)
    assert math.isnan(again.cosine)


def test_figures_that_are_not_finite_are_read_again(run: Run) -> None:
    layers = (LayerSensitivity("a", "aten.linear", -math.inf), LayerSensitivity("b", "aten.linear", math.inf))
    paired = (PairedLayer("a", "aten.linear", math.inf, 40.0),)
    attempts = (GateAttempt(0, False, math.inf, None, 10, 0.1),)
    done = Quantization(method="mse", quantized=2, layers=layers, paired=paired, attempts=attempts)
    again = Run.from_json(replace(run, quantization=done).to_json()).quantization
    assert again is not None and again.paired == paired and again.attempts == attempts
    assert all(math.isnan(layer.sqnr_db) for layer in again.layers)


def test_a_figure_of_another_type_is_not_written(run: Run) -> None:
    wrong: Any = "4"
    with pytest.raises(ValueError, match="serializ"):
        replace(run, model=replace(run.model, parameters=wrong)).to_json()


def test_pass_entry_counts_by_rule() -> None:
    notes = (Note("b", "n1"), Note("a", "n2"), Note("b", "n3"), Note("a", "n4", "it is shared"))
    entry = PassRecord.of("fold", "exact", True, notes, 0.5, Error(0.0, 0.0, math.inf, 1.0))
    assert entry.applied == 3
    assert entry.rules == {"a": 1, "b": 2}
    assert [(r.rule, r.node, r.reason) for r in entry.refused] == [("a", "n4", "it is shared")]
    assert entry.error is not None and entry.error.sqnr_db == math.inf


def test_limits_give_the_verdict(run: Run) -> None:
    assert run.ok and run.exit_code == 0
    missed = replace(run, limits=(*run.limits, limit("max-size", "bytes", 1, 2)))
    assert not missed.ok and missed.exit_code == 1
    assert replace(run, limits=()).ok


def test_an_accepted_difference_excuses_default_limits_alone(run: Run) -> None:
    missed = replace(run, limits=(*run.limits, limit("default-error", "ratio", 1, 2, is_default=True)))
    assert not missed.ok
    accepted = replace(missed, accepted_difference="the original rounds")
    assert accepted.ok and accepted.exit_code == 0
    stated = replace(accepted, limits=(*accepted.limits, limit("max-size", "bytes", 1, 2)))
    assert not stated.ok and stated.exit_code == 1


def test_a_limit_that_could_not_be_measured_has_no_value() -> None:
    assert limit("max-error", "ratio", 1e-3, math.inf).value is None


def test_samples_are_thinned() -> None:
    costs = [float(i) for i in reversed(range(10 * SAMPLES_KEPT))]
    kept = Latency.of(costs, unit="ms", warmup=0, threads=1).samples
    assert len(kept) == SAMPLES_KEPT
    assert kept[:3] == (0.0, 10.0, 20.0)
    assert kept[-1] == 10 * SAMPLES_KEPT - 1


def test_name_is_the_file_stem_unless_given(run: Run) -> None:
    assert run.name == "resnet8"
    named = replace(run, model=replace(run.model, name="ResNet-8"))
    assert named.name == "ResNet-8"


def test_executed_precision() -> None:
    def layers(*precisions: str | None) -> list[Layer]:
        return [Layer("n", "t", p) for p in precisions]

    assert executed_precision(layers("fp32", "fp32", None)) == "fp32"
    assert executed_precision(layers("int8", "fp32", "int8")) == "int8 (2), fp32 (1)"
    assert executed_precision(layers(None)) is None
    assert executed_precision(layers("fp32", "int64", "int64")) == "fp32"
    assert executed_precision(layers("int64")) == "int64"


def test_records_are_immutable_and_know_their_fields(run: Run) -> None:
    with pytest.raises(FrozenInstanceError):
        run.model.parameters = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        limit("max-size", "bytes", 1, 2, color="red")
    with pytest.raises(UserError, match=r"damaged at 'model\.color'"):
        Run.from_json(run.to_json().replace('"parameters"', '"color": "red", "parameters"'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[1, 2]", "no edgeopt report"),
        ('{"name": "edgeopt"}', "no edgeopt report"),
        ('{"schema_version": 9}', "has form 9, this edgeopt reads form 3"),
        ('{"schema_version": 3, "target": {}}', "is damaged at 'model'"),
    ],
)
def test_foreign_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Run.from_json(text)
    assert message in caught.value.message
    assert caught.value.hint
