"""Figures read as an engineer writes them."""

from __future__ import annotations

import math

import pytest

from edgeopt.records.outputs import Error
from edgeopt.report import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (0.01234, "0.0123"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1234.5, "1230"),
        (-2.5, "-2.50"),
        (math.inf, "∞"),
        (math.nan, "NaN"),
    ],
)
def test_significant(value: float, text: str) -> None:
    assert figures.significant(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0213, "ms", "21.3 µs"),
        (1.1478, "ms", "1.15 ms"),
        (0.9999, "ms", "1.00 ms"),
        (2500.0, "ms", "2.50 s"),
        (0.0, "ms", "0 µs"),
        (46_712_345, "instructions", "46.7 M instructions"),
        (950, "instructions", "950 instructions"),
        (None, "ms", "-"),
    ],
)
def test_cost(value: float | None, unit: str, text: str) -> None:
    assert figures.cost(value, unit) == text


def test_counts() -> None:
    assert [figures.magnitude(n) for n in (950, 78_666, 999_999, 12_501_632, 4.1e9)] == [
        "950",
        "78,666",
        "999,999",
        "12.5 M",
        "4.10 G",
    ]
    assert [figures.size(n) for n in (0, 312, 1023, 1024, 352_357, 3 * 2**30)] == [
        "0 B",
        "312 B",
        "1023 B",
        "1.00 KiB",
        "344 KiB",
        "3.00 GiB",
    ]


def test_errors() -> None:
    equal = Error(max_abs=0.0, relative=0.0, sqnr_db=math.inf, cosine=1.0)
    lost = Error(max_abs=2.0, relative=math.inf, sqnr_db=-math.inf, cosine=0.0)
    assert (figures.relative(equal), figures.sqnr(equal)) == ("equal", "∞ dB")
    assert (figures.relative(lost), figures.sqnr(lost)) == ("∞", "-∞ dB")
    assert (figures.relative(None), figures.sqnr(None)) == ("-", "-")
