"""Arithmetic of intervals: between which numbers a result lies, from those of the operands."""

from __future__ import annotations

Interval = tuple[int, int]
"""Least and greatest value, both possible or not."""


def plus(a: Interval, b: Interval) -> Interval:
    """The sum."""
    return (a[0] + b[0], a[1] + b[1])


def minus(a: Interval, b: Interval) -> Interval:
    """The difference."""
    return (a[0] - b[1], a[1] - b[0])


def times(a: Interval, b: Interval) -> Interval:
    """The product."""
    return ends(*(x * y for x in a for y in b))


def quotient(a: Interval, b: Interval) -> Interval:
    """The quotient is largest by the divisor nearest to zero."""
    nearest = 1 if b[0] <= 0 <= b[1] else min(abs(b[0]), abs(b[1]))
    largest = max(abs(a[0]), abs(a[1])) // nearest + 1
    return (0 if a[0] >= 0 and b[0] > 0 else -largest, largest)


def remainder(a: Interval, b: Interval) -> Interval:
    """The remainder with the divisor's sign."""
    largest = max(abs(b[0]), abs(b[1]), 1) - 1
    return (0 if b[0] > 0 else -largest, 0 if b[1] < 0 else largest)


def signed_remainder(a: Interval, b: Interval) -> Interval:
    """The remainder with the dividend's sign."""
    largest = max(abs(b[0]), abs(b[1]), 1) - 1
    return (max(min(a[0], 0), -largest), min(max(a[1], 0), largest))


def power(a: Interval, b: Interval) -> Interval:
    """The power, of exponents up to 64."""
    exponent = max(b[1], 0)
    largest = max(abs(a[0]), abs(a[1])) ** min(exponent, 64)
    return (0 if a[0] >= 0 or (b[0] == b[1] and exponent % 2 == 0) else -largest, largest)


def left_shift(a: Interval, b: Interval) -> Interval:
    """The product by a power of two."""
    return times(a, (1 << max(min(b[0], 63), 0), 1 << max(min(b[1], 63), 0)))


def right_shift(a: Interval, b: Interval) -> Interval:
    """The quotient by a power of two."""
    return hull(a, (a[0] >> max(b[0], 0), a[1] >> max(b[0], 0)), (0, 0))


def bits(a: Interval, b: Interval) -> Interval:
    """What has no more bits than either."""
    count = max(abs(end).bit_length() for end in (*a, *b))
    return (0 if min(a[0], b[0]) >= 0 else -(1 << count), (1 << count) - 1)


def common_bits(a: Interval, b: Interval) -> Interval:
    """What is not negative bounds what it has in common with anything."""
    bounds = [high for low, high in (a, b) if low >= 0]
    return (0, min(bounds)) if bounds else bits(a, b)


def ends(*values: int) -> Interval:
    """Return the interval of some values."""
    return (min(values), max(values))


def hull(*intervals: Interval) -> Interval:
    """Return the least interval that holds all."""
    return (min(low for low, _ in intervals), max(high for _, high in intervals))


def meet(one: Interval, other: Interval) -> Interval:
    """Return what two intervals have in common."""
    return (max(one[0], other[0]), min(one[1], other[1]))


def within(inner: Interval, outer: Interval) -> bool:
    """Return whether one interval lies in another."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]
