"""Limits, stated and by default, in their one evaluator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgeopt.candidate.limits import (
    FLOORS,
    STATED,
    Limits,
    Measured,
    answers_hold,
    check,
    check_drop,
    check_outputs,
    costs_hold,
    floor_of,
    verdict,
)
from edgeopt.errors import UserError
from edgeopt.ir.metrics import Comparison, Pointed, Reference
from edgeopt.plugins.target import Target
from edgeopt.records.outputs import EQUAL, Error

GOOD = Measured(error=Error(0.1, 0.01, 40.0, 0.999), accuracy=0.9, drop=0.02, latency=2.0, bytes=1000)
TIGHT: dict[str, Any] = {
    "max_latency": 1,
    "max_size": 999,
    "min_accuracy": 0.91,
    "max_drop": 0.01,
    "max_error": 1e-3,
    "min_cosine": 1,
}
WIDE: dict[str, Any] = {
    "max_latency": 2,
    "max_size": 1000,
    "min_accuracy": 0.9,
    "max_drop": 0.02,
    "max_error": 0.01,
    "min_cosine": 0.9,
}


@pytest.mark.parametrize("name", TIGHT)
def test_each_stated_limit_is_held_in_its_direction(name: str) -> None:
    (missed,) = check(Limits(**{name: TIGHT[name]}), GOOD)
    (kept,) = check(Limits(**{name: WIDE[name]}), GOOD)
    assert (missed.name, missed.ok, kept.ok) == (name.replace("_", "-"), False, True)
    (unmeasured,) = check(Limits(**{name: WIDE[name]}), Measured())
    assert not unmeasured.ok and unmeasured.value is None


def test_answers_and_costs_are_told_apart() -> None:
    dear = Limits(max_latency=1, max_error=0.1)
    assert answers_hold(dear, GOOD) and not costs_hold(dear, GOOD) and dear.on_answers
    assert not answers_hold(Limits(max_error=1e-3), GOOD) and costs_hold(Limits(max_error=1e-3), GOOD)
    assert not Limits(max_size=1).on_answers and Limits(max_size=1).stated and not Limits().stated
    assert {kind.name.replace("-", "_") for kind in STATED} == set(vars(Limits()))


def judged(
    reference: dict[str, np.ndarray], other: dict[str, np.ndarray], precision: str = "fp32", **facts: Any
) -> Any:
    noise = facts.pop("noise", {})
    comparison = Reference((reference,), **facts).compare([other])
    checked = check_outputs(comparison, floor_of([precision]), noise)
    return verdict(comparison, checked), {one.name: one for one in checked if not one.ok}


def floats(*values: float) -> dict[str, np.ndarray]:
    return {"y": np.array(values, np.float64)}


def test_a_large_output_hides_no_small_one() -> None:
    reference = {"large": np.array([1e7, -1e7]), "small": np.array([10.0, 5.0])}
    word, missed = judged(reference, {**reference, "small": np.array([7.7, 5.0])})
    assert word == "differs" and set(missed) == {"default-error", "default-sqnr"}
    assert {one.output for one in missed.values()} == {"small"}
    assert missed["default-error"].value == pytest.approx(0.23)


@pytest.mark.parametrize("precision", FLOORS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_no_precision_allows_new_nan(precision: str, wrong: float) -> None:
    word, missed = judged(floats(1, 2, 3), floats(1, wrong, 3), precision)
    assert word == "differs" and missed["no-new-nan"].value == 1


def test_nan_where_the_original_has_it_is_close() -> None:
    assert judged(floats(math.nan, 2), floats(math.nan, 2.0001))[0] == "close"
    assert judged(floats(math.inf, 2), floats(math.inf, 2))[0] == "equal"


@pytest.mark.parametrize("precision", ["fp32", "int8", "trained"])
def test_integers_off_by_one_differ_in_every_precision(precision: str) -> None:
    word, missed = judged({"n": np.arange(100)}, {"n": np.arange(100) + (np.arange(100) == 7)}, precision)
    assert word == "differs" and missed["default-integers"].value == 0.01


def test_decisions_may_turn_as_often_as_the_noise_allows() -> None:
    reference, other = {"b": np.ones(100, bool)}, {"b": np.arange(100) > 4}
    assert judged(reference, other, "int8", decided={"b"})[0] == "close"
    assert judged(reference, other, "fp32", decided={"b"})[0] == "differs"
    assert judged(reference, {"b": np.arange(100) > 20}, "int8", decided={"b"})[0] == "differs"


def test_indices_are_judged_by_values_and_ties_are_not_compared() -> None:
    values = np.array([[5.0, 1.0, 5.0, 4.9999]])
    pointed = ({"i": Pointed(values, 1, (1, 1))},)
    reference = {"i": np.array([[0]])}
    assert judged(reference, {"i": np.array([[0]])}, pointed=pointed)[0] == "equal"
    assert judged(reference, {"i": np.array([[2]])}, pointed=pointed)[0] == "not compared"
    assert judged(reference, {"i": np.array([[3]])}, pointed=pointed)[0] == "close"
    assert judged(reference, {"i": np.array([[1]])}, pointed=pointed)[0] == "differs"


def test_what_cannot_be_compared_is_never_equal() -> None:
    empty = {"y": np.zeros((0, 2))}
    assert judged(empty, empty)[0] == "not compared"
    assert judged(floats(math.nan), floats(math.nan))[0] == "not compared"
    assert judged(floats(1), floats(1), not_compared={"y": "it is random"})[0] == "not compared"
    assert judged({**empty, "z": np.ones(2)}, {**empty, "z": np.ones(2)})[0] == "close"
    assert verdict(None, ()) == "not run"


def test_noise_of_the_model_lowers_the_floor() -> None:
    reference, other = floats(1, 1), floats(1, 1.005)
    assert judged(reference, other)[0] == "differs"
    assert judged(reference, other, noise={"y": 1e-3})[0] == "close"
    assert judged(reference, floats(1, 1.03), noise={"y": 1e-3})[0] == "differs"
    assert judged(reference, other, noise={"other": 1e-3})[0] == "differs"


def test_int8_that_is_worse_than_silence_differs() -> None:
    random = np.random.default_rng(0)
    reference, noise = random.standard_normal(1000), random.standard_normal(1000)
    for decibels, word in ((30, "close"), (14, "close"), (8, "differs"), (-3, "differs")):
        got = reference + noise * 10 ** (-decibels / 20)
        assert judged({"y": reference}, {"y": got}, "int8")[0] == word, decibels


def test_the_coarsest_format_decides() -> None:
    assert floor_of(["fp32", "int8"]) == FLOORS["int8"]
    assert floor_of(["int8", "int4", "bf16"]) == FLOORS["int4"]
    assert floor_of(["fp64"]) == floor_of([]) == FLOORS["fp32"]
    order = ["fp32", "fp16", "bf16", "int8", "int4", "binary"]
    assert sorted(order, key=lambda name: -FLOORS[name].sqnr_db) == order
    assert {*Target.golden_bounds} - {"auto"} <= FLOORS.keys()


def test_the_loss_of_accuracy_has_a_default() -> None:
    assert check_drop(None, Limits()) == check_drop(0.2, Limits(max_drop=0.3)) == ()
    assert [one.ok for drop in (0.049, 0.051, math.nan) for one in check_drop(drop, Limits())] == [True, False, False]
    comparison = Comparison(())
    assert verdict(comparison, check_drop(0.2, Limits())) == "differs"
    assert EQUAL.sqnr_db == math.inf


@pytest.mark.parametrize(
    ("name", "limit", "span"),
    [
        ("max_latency", "2", "from 0 up"),
        ("max_error", -0.1, "from 0 up"),
        ("max_error", math.nan, "from 0 up"),
        ("max_latency", math.inf, "from 0 up"),
        ("max_size", -1, "from 0 up"),
        ("min_accuracy", 90, "from 0 to 1"),
        ("max_drop", -0.1, "from 0 to 1"),
        ("min_cosine", 1.1, "from -1 to 1"),
    ],
)
def test_a_limit_that_nothing_can_be_held_against_is_refused(name: str, limit: Any, span: str) -> None:
    with pytest.raises(UserError) as refused:
        Limits(**{name: limit})
    assert repr(limit) in refused.value.message and refused.value.hint == f"give a finite number {span}"
