from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgeopt.errors import UserError
from edgeopt.ir.metrics import Pointed, Reference, compare, compare_all
from edgeopt.records.outputs import NOT_FINITE


def arrays(*values: float) -> dict[str, np.ndarray]:
    return {"y": np.array(values, dtype=np.float32)}


def test_equal_outputs_have_no_error() -> None:
    error = compare(arrays(1, -2, math.inf), arrays(1, -2, math.inf))
    assert (error.max_abs, error.relative, error.sqnr_db, error.cosine) == (0.0, 0.0, math.inf, 1.0)


def test_definitions() -> None:
    error = compare(arrays(3, -4), arrays(3, -4.5))
    assert error.max_abs == 0.5 and error.relative == 0.125
    assert error.sqnr_db == pytest.approx(10 * math.log10(25 / 0.25))
    assert error.cosine == pytest.approx((9 + 18) / math.sqrt(25 * (9 + 20.25)))


def test_relative_is_over_all_samples_of_an_output() -> None:
    reference = [{"a": np.array([10.0])}, {"a": np.array([100.0])}]
    other = [{"a": np.array([10.5])}, {"a": np.array([100.0])}]
    assert compare_all(reference, other).relative == 0.005


def test_a_large_output_hides_no_small_one() -> None:
    reference = {"large": np.array([1e7, -1e7]), "small": np.array([10.0, 5.0])}
    other = {"large": np.array([1e7, -1e7]), "small": np.array([7.7, 5.0])}
    comparison = Reference((reference,)).compare([other])
    assert [round(output.error.relative, 9) for output in comparison.outputs if output.error] == [0.0, 0.23]
    assert comparison.worst is not None and comparison.worst.relative == pytest.approx(0.23)
    assert compare(reference, other) == comparison.worst


def test_each_figure_is_of_the_output_in_which_it_is_worst() -> None:
    reference = {"a": np.array([100.0, 0.1]), "b": np.array([1.0, 1.0])}
    other = {"a": np.array([101.0, 0.1]), "b": np.array([1.1, 0.9])}
    alone = [compare({name: reference[name]}, {name: other[name]}) for name in "ab"]
    worst = compare(reference, other)
    assert worst.max_abs == alone[0].max_abs and worst.relative == alone[1].relative
    assert worst.sqnr_db == alone[1].sqnr_db and worst.cosine == alone[1].cosine


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("swapped", [False, True])
def test_what_is_not_finite_in_one_alone_holds_no_limit(wrong: float, swapped: bool) -> None:
    pair = (arrays(1, 2), arrays(1, wrong))
    error = compare(*(reversed(pair) if swapped else pair))
    assert not error.relative <= 1e30 and not error.sqnr_db >= -1e30 and not error.cosine >= -1


def test_another_infinity_is_a_difference() -> None:
    (output,) = Reference((arrays(math.inf, 1),)).compare([arrays(-math.inf, 1)]).outputs
    assert output.not_finite == output.differing == 1 and output.error == NOT_FINITE


def test_the_same_nan_in_the_same_place_is_no_error_of_the_rest() -> None:
    (output,) = Reference((arrays(math.nan, 2, 4),)).compare([arrays(math.nan, 2, 5)]).outputs
    assert output.error is not None and output.error.relative == 0.25
    assert output.differing == 1 and output.not_finite == 0


@pytest.mark.parametrize(
    ("reference", "reason"),
    [({"y": np.zeros((0, 3))}, "it is empty"), (arrays(math.nan, math.nan), "it is NaN throughout in the original")],
)
def test_outputs_that_say_nothing_are_not_equal(reference: dict[str, np.ndarray], reason: str) -> None:
    comparison = Reference((reference,)).compare([reference])
    assert comparison.outputs[0].reason == reason and comparison.outputs[0].error is None
    assert comparison.worst is None and comparison.compared == ()


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_integers_are_counted(dtype: type) -> None:
    (output,) = (
        Reference(({"y": np.array([1, 0, 1, 0], dtype)},)).compare([{"y": np.array([1, 1, 1, 0], dtype)}]).outputs
    )
    assert (output.form, output.differing, output.elements) == ("exact", 1, 4)


def test_integers_beyond_float64_are_no_equals() -> None:
    error = compare({"y": np.array([2**60])}, {"y": np.array([2**60 + 1])})
    assert error.max_abs == 1.0 and error.relative > 0


def test_an_integer_that_became_nan_is_a_difference() -> None:
    assert compare({"y": np.array([1, 2])}, arrays(1, math.nan)) == NOT_FINITE


def test_both_parts_of_complex_numbers_count() -> None:
    assert compare({"y": np.array([3 + 4j])}, {"y": np.array([3 - 4j])}).max_abs == 8.0


VALUES = np.array([[5.0, 1.0, 5.0, 3.0]])


@pytest.mark.parametrize(
    ("indices", "relative", "reason"),
    [
        ([[0, 2]], 0.0, None),
        ([[2, 0]], None, "ties: 2 of 2 indices differ, at values that are equal"),
        ([[0, 3]], 0.4, None),
        ([[0, 9]], math.inf, None),
    ],
)
def test_an_index_is_judged_by_what_it_points_at(
    indices: list[Any], relative: float | None, reason: str | None
) -> None:
    pointed = {"i": Pointed(VALUES, 1, (1, 2))}
    (output,) = Reference(({"i": np.array([[0, 2]])},), {}, (pointed,)).compare([{"i": np.array(indices)}]).outputs
    assert output.form == "index" and output.reason == reason
    assert (output.error and output.error.relative) == relative


def test_a_reference_of_zeros() -> None:
    assert compare(arrays(0, 0), arrays(0, 1e-9)).relative == math.inf


@pytest.mark.parametrize(
    ("other", "found"), [({}, "has shape absent"), ({"y": np.zeros((2, 1), np.float32)}, r"has shape \(2, 1\)")]
)
def test_missing_or_other_shape(other: dict[str, np.ndarray], found: str) -> None:
    with pytest.raises(UserError, match=found):
        compare(arrays(1, 2), other)
