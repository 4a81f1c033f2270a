"""How far outputs lie from the original's: each output alone, over all samples."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeopt.errors import UserError
from edgeopt.records.outputs import EQUAL, NOT_FINITE, Error, Form, OutputComparison

Arrays = Mapping[str, np.ndarray]
"""Arrays by the name of an input or output."""

Sample = dict[str, np.ndarray]
"""One value for each input of a program, by its name."""


@dataclass(frozen=True)
class Pointed:
    """The values among which an index was chosen: where they lie equal, another index is as good.

    ``axis``: along which; None for an index into the flattened values. ``shape``: that of the indices where they were
    chosen, before they were reshaped.
    """

    values: np.ndarray
    axis: int | None
    shape: tuple[int, ...]

    def at(self, indices: np.ndarray) -> np.ndarray:
        """Return the values that ``indices`` point at; NaN where an index is out of range."""
        values = self.values.reshape(-1) if self.axis is None else self.values
        axis = self.axis or 0
        chosen = indices.astype(np.int64).reshape(-1 if self.axis is None else self.shape)
        inside = (chosen >= 0) & (chosen < values.shape[axis])
        found = np.take_along_axis(values, np.where(inside, chosen, 0), axis).astype(np.float64)
        return np.where(inside, found, np.nan)


@dataclass(frozen=True)
class Comparison:
    """All outputs against their references."""

    outputs: tuple[OutputComparison, ...]

    @property
    def compared(self) -> tuple[OutputComparison, ...]:
        """The outputs that could be compared."""
        return tuple(output for output in self.outputs if output.error is not None)

    @property
    def is_equal(self) -> bool:
        """Whether every output could be compared and every element is equal."""
        return len(self.compared) == len(self.outputs) and not any(output.differing for output in self.outputs)

    @property
    def worst(self) -> Error | None:
        """Each figure of the output in which it is worst; None where no output could be compared."""
        errors = [output.error for output in self.outputs if output.error is not None]
        if not errors:
            return None
        # A cosine that is NaN is worse than any.
        cosines = [error.cosine for error in errors]
        return Error(
            max(error.max_abs for error in errors),
            max(error.relative for error in errors),
            min(error.sqnr_db for error in errors),
            math.nan if any(map(math.isnan, cosines)) else min(cosines),
        )


@dataclass(frozen=True)
class Reference:
    """The original's outputs, sample by sample, and what is known of them before anything is compared.

    ``not_compared``: outputs that say nothing, with the reason. ``pointed``: for each sample, by output, the values
    that an index was chosen among. ``decided``: outputs of integers or booleans that floats decided.
    """

    outputs: tuple[Arrays, ...]
    not_compared: Mapping[str, str] = field(default_factory=dict)
    pointed: tuple[Mapping[str, Pointed], ...] = ()
    decided: Collection[str] = ()

    def __iter__(self) -> Iterator[Arrays]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def compare(self, others: Iterable[Arrays]) -> Comparison:
        """Return the comparison of all samples' outputs with these.

        Raises UserError where an output is missing or its shape differs, ValueError where one side has more samples.
        """
        pointed = self.pointed or ({},) * len(self.outputs)
        sums: dict[str, _OutputSum] = {}
        for expected, other, values in zip(self.outputs, others, pointed, strict=True):
            _check_shapes(expected, other)
            for name, array in expected.items():
                if name not in sums:
                    sums[name] = _OutputSum(self._form(name, array, values))
                sums[name].add(array, other[name], values.get(name))
        return Comparison(tuple(one.result(name, self.not_compared.get(name)) for name, one in sums.items()))

    def _form(self, name: str, array: np.ndarray, pointed: Mapping[str, Pointed]) -> Form:
        if array.dtype.kind in "fc":
            return "number"
        if name in pointed:
            return "index"
        return "decision" if name in self.decided else "exact"


class _OutputSum:
    """Accumulates one output's error over many samples without keeping them."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._max_abs = self._max_reference = 0.0
        self._noise = self._power = self._power_other = self._dot = 0.0
        self._elements = self._differing = self._not_finite = self._nan = 0

    def add(self, expected: np.ndarray, got: np.ndarray, pointed: Pointed | None) -> None:
        """Add one sample; ``pointed``: the values that an index points at."""
        self._elements += expected.size
        unequal = (expected != got) & ~(_is_nan(expected) & _is_nan(got))
        self._differing += int(unequal.sum())
        self._nan += int(_is_nan(expected).sum())
        if pointed is not None:
            expected, got = pointed.at(expected), pointed.at(got)
            unequal = np.zeros(expected.shape, bool)
        a, b = _flat(expected), _flat(got)
        finite = np.isfinite(a) & np.isfinite(b)
        # The same infinity in the same place (a mask) is equal; their difference would be NaN.
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        self._not_finite += int((~finite & ~same).sum())
        difference = np.abs(a[finite] - b[finite])
        if expected.dtype.kind in "iub":
            # Integers beyond 2**53 that differ may be one float64.
            difference = np.maximum(difference, unequal.ravel()[finite])
        self._add(a[finite], b[finite], difference)

    def _add(self, a: np.ndarray, b: np.ndarray, difference: np.ndarray) -> None:
        self._max_abs = max(self._max_abs, float(difference.max(initial=0.0)))
        self._max_reference = max(self._max_reference, float(np.abs(a).max(initial=0.0)))
        self._noise += float(difference @ difference)
        self._power += float(a @ a)
        self._power_other += float(b @ b)
        self._dot += float(a @ b)

    def result(self, name: str, reason: str | None) -> OutputComparison:
        """Return the comparison over everything added so far; ``reason``: why the output is not compared."""
        reason = reason or self._says_nothing()
        counts = (self._elements, self._differing, self._not_finite)
        return OutputComparison(name, self._form, None if reason else self._error(), *counts, reason)

    def _says_nothing(self) -> str | None:
        if not self._elements:
            return "it is empty"
        if self._nan == self._elements:
            return "it is NaN throughout in the original"
        if self._form == "index" and self._differing and not self._max_abs and not self._not_finite:
            return f"ties: {self._differing} of {self._elements} indices differ, at values that are equal"
        return None

    def _error(self) -> Error:
        if self._not_finite:
            return NOT_FINITE
        if self._max_abs == 0.0:
            return EQUAL
        relative = self._max_abs / self._max_reference if self._max_reference else math.inf
        # Without power, or with infinite noise, the ratio is 0, which has no logarithm.
        ratio = self._power / self._noise if self._noise else math.inf
        sqnr = 10 * math.log10(ratio) if ratio else -math.inf
        norms = math.sqrt(self._power) * math.sqrt(self._power_other)
        return Error(self._max_abs, relative, sqnr, self._dot / norms if norms else 0.0)


def _check_shapes(reference: Arrays, other: Arrays) -> None:
    for name, expected in reference.items():
        if name not in other or other[name].shape != expected.shape:
            found = other[name].shape if name in other else "absent"
            raise UserError(
                f"output '{name}' has shape {found}, the original's is {expected.shape}",
                "check that both models are run on the same inputs",
            )


def _is_nan(array: np.ndarray) -> np.ndarray:
    return np.isnan(array) if array.dtype.kind in "fc" else np.zeros(array.shape, bool)


def _flat(array: np.ndarray) -> np.ndarray:
    """Return the elements as float64; a complex one as its two parts."""
    if array.dtype.kind == "c":
        return np.ascontiguousarray(array, np.complex128).reshape(-1).view(np.float64)
    return array.astype(np.float64).reshape(-1)


def compare(reference: Arrays, other: Arrays) -> Error:
    """Return the error of one sample's outputs against their reference, of the worst output.

    Raises UserError where an output is missing or its shape differs.
    """
    return compare_all([reference], [other])


def compare_all(references: Iterable[Arrays], others: Iterable[Arrays]) -> Error:
    """Return the error of the outputs of many samples, one after another, against their references.

    Each figure is of the output in which it is worst (see ``Comparison.worst``); outputs that are empty, or NaN
    throughout in both, count as equal here. Raises UserError where an output is missing or its shape differs,
    ValueError where one side has more samples.
    """
    return Reference(tuple(references)).compare(others).worst or EQUAL
