from __future__ import annotations

import math

import numpy as np
import pytest

from edgeopt.compare import compare, compare_all
from edgeopt.errors import UserError


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


def test_relative_is_over_all_samples_and_outputs() -> None:
    reference = [{"a": np.array([10.0]), "b": np.array([1.0])}, {"a": np.array([100.0])}]
    other = [{"a": np.array([10.0]), "b": np.array([1.5])}, {"a": np.array([100.0])}]
    assert compare_all(reference, other).relative == 0.005


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_is_no_small_error(wrong: float) -> None:
    assert not compare(arrays(1, 2), arrays(1, wrong)).relative <= 1e-5


def test_a_reference_of_zeros() -> None:
    assert compare(arrays(0, 0), arrays(0, 1e-9)).relative == math.inf


@pytest.mark.parametrize(
    ("other", "found"), [({}, "has shape absent"), ({"y": np.zeros((2, 1), np.float32)}, r"has shape \(2, 1\)")]
)
def test_missing_or_other_shape(other: dict[str, np.ndarray], found: str) -> None:
    with pytest.raises(UserError, match=found):
        compare(arrays(1, 2), other)
