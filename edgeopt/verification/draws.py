"""Arrays for inputs: floats at several scales, masks in several patterns, integers over their whole range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.random import Generator

from edgeopt.analysis.indices import bag_of, legal_indices
from edgeopt.ir.program import Program, numpy_dtype
from edgeopt.ir.rewrite import arguments
from edgeopt.verification.kinds import Input
from edgeopt.verification.sizes import Sizes, shape_of, size_of

Floats = Literal["scale 1", "scale 0.1", "scale 10", "positive", "noisy example", "scaled example"]
Masks = Literal["head", "tail", "random", "full", "none", "empty row", "full row", "example"]

NOISE = 0.05
"""Spread of the factors that the example's values are multiplied by, each by its own, so that signs stay."""


class Draw:
    """Draws arrays for the inputs of a program; ``example`` by name, where there is one."""

    def __init__(self, program: Program, example: Mapping[str, np.ndarray]) -> None:
        self.program, self.example = program, example

    def floats(self, one: Input, form: Floats, sizes: Sizes, generator: Generator) -> np.ndarray:
        """Draw normal numbers, or take the example's with noise."""
        shape, dtype = shape_of(one.node.meta["val"], sizes), numpy_dtype(one.node.meta["val"].dtype)
        if form in ("noisy example", "scaled example"):
            spread = () if form == "scaled example" else shape
            factor = np.clip(1 + NOISE * generator.standard_normal(spread), 0.5, 1.5)
            return (self.given(one, sizes) * factor).astype(dtype)
        drawn = generator.standard_normal(shape)
        if dtype.kind == "c":
            drawn = drawn + 1j * generator.standard_normal(shape)
        if form == "positive":
            return np.abs(drawn).astype(dtype)
        return (drawn * float(form.removeprefix("scale "))).astype(dtype)

    def masks(self, one: Input, form: Masks, sizes: Sizes, generator: Generator) -> np.ndarray:
        """Draw a mask: ``head`` is true for a number of first positions of each row, ``tail`` for the others."""
        if form == "example":
            return self.given(one, sizes)
        value, (false, true) = one.node.meta["val"], one.words
        shape = shape_of(value, sizes)
        mask = np.where(_pattern(form, shape, generator), true, false)
        return mask.astype(numpy_dtype(value.dtype)).reshape(shape)

    def integers(self, one: Input, sizes: Sizes, generator: Generator) -> np.ndarray:
        """Draw integers over all that is legal, both ends among them; without a range, over the example's."""
        value = one.node.meta["val"]
        shape = shape_of(value, sizes)
        draw = _offsets if one.kind == "offsets" else self._indices
        drawn = draw(one, shape, sizes, generator)
        return drawn.astype(numpy_dtype(value.dtype))

    def given(self, one: Input, sizes: Sizes) -> np.ndarray:
        """Return the example's array, repeated or cut to the sizes."""
        array, shape = self.example[one.name], shape_of(one.node.meta["val"], sizes)
        for axis, size in enumerate(shape):
            array = np.take(array, np.arange(size) % max(array.shape[axis], 1), axis)
        return array

    def _indices(self, one: Input, shape: tuple[int, ...], sizes: Sizes, generator: Generator) -> np.ndarray:
        legal = legal_indices(self.program, one.node, lambda dimension: size_of(dimension, sizes), of_all=False)
        if legal is None:
            array = self.example[one.name]
            legal = min(int(array.min(initial=0)), 0), int(array.max(initial=0))
        low, high = legal[0], max(legal)
        drawn = np.asarray(generator.integers(low, high + 1, shape))
        ends = np.array([high, low])[: drawn.size]
        places = generator.permutation(drawn.size)[: ends.size]
        drawn.reshape(-1)[places] = ends
        return drawn


def _pattern(form: Masks, shape: tuple[int, ...], generator: Generator) -> np.ndarray:
    rows = np.zeros(shape or (1,), bool)
    if form in ("full", "none"):
        return rows | (form == "full")
    if form in ("head", "tail"):
        length = generator.integers(1, max(rows.shape[-1], 2), (*rows.shape[:-1], 1))
        return np.equal(np.arange(rows.shape[-1]) < length, form == "head")
    rows = generator.random(rows.shape) < 0.5
    if form in ("empty row", "full row"):
        rows[0] = form == "full row"
    return rows


def _offsets(one: Input, shape: tuple[int, ...], sizes: Sizes, generator: Generator) -> np.ndarray:
    """Draw where bags begin: rising, the first at 0, some bags empty."""
    bag = bag_of(one.node)
    assert bag is not None
    most = math.prod(shape_of(arguments(bag)["indices"].meta["val"], sizes))
    return np.append(0, np.sort(generator.integers(0, most + 1, shape[0])))[: shape[0]]
