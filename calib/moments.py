"""What recovery passes want to know of a layer's input: channel magnitudes, mean, second moments.

Neither the order of the samples nor their division into batches changes a bit: extremes commute, sums are of
integers, and which samples are held out is decided by their content alone.
"""

from __future__ import annotations

import hashlib
import math
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from edgeopt.calib.data import CalibrationData
from edgeopt.calib.observe import Accumulator, observe
from edgeopt.ir.context import Need
from edgeopt.ir.nodes import aten, pair
from edgeopt.ir.program import Program, Range
from edgeopt.ir.rewrite import arguments


@dataclass
class Together:
    """Several accumulators of the same value."""

    parts: Sequence[Accumulator]

    def add(self, value: torch.Tensor) -> None:
        """Let all take in the value."""
        for part in self.parts:
            part.add(value)


@dataclass
class Channels:
    """Least and largest value of each channel along ``axis``."""

    axis: int
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None

    def add(self, value: torch.Tensor) -> None:
        """Take in the value that one sample gave."""
        others = [dim for dim in range(value.dim()) if dim != self.axis]
        low, high = value.amin(others), value.amax(others)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)

    @property
    def magnitudes(self) -> torch.Tensor:
        """Largest absolute value of each channel."""
        assert self.low is not None and self.high is not None
        return torch.maximum(-self.low, self.high)


class Identified:
    """Samples one after another, and the ``digest`` of the one given last, which is the same on every processor."""

    def __init__(self, samples: Iterable[Mapping[str, np.ndarray]]) -> None:
        self.samples = samples
        self.digest = b""

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the samples."""
        for sample in self.samples:
            content = b"".join(np.ascontiguousarray(sample[name]).tobytes() for name in sorted(sample))
            self.digest = hashlib.blake2b(content, digest_size=16).digest()
            yield dict(sample)


class HeldOut:
    """Channels of all samples, and a few samples held out: the largest ones, among equals the least by digest.

    Of sentences the longest hold most that the others do not: what suits them suits unseen data.
    """

    def __init__(self, axis: int, keep: int, samples: Identified) -> None:
        """``samples``: what the values are computed from, one after another."""
        self.samples = samples
        self.all = Channels(axis)
        self.keep = keep
        self._others = Channels(axis)
        self._held: list[tuple[tuple[int, bytes], torch.Tensor]] = []
        self._count = 0

    def add(self, value: torch.Tensor) -> None:
        """Take in the value that one sample gave."""
        self.all.add(value)
        self._count += 1
        insort(self._held, ((-value.numel(), self.samples.digest), value), key=itemgetter(0))
        if len(self._held) > self.keep:
            self._others.add(self._held.pop()[1])

    def split(self) -> tuple[Channels, list[torch.Tensor]]:
        """Return the channels of the samples that are not held out, and those that are, at most half of all."""
        held = [value for _, value in self._held]
        number = min(len(held), self._count // 2)
        others = replace(self._others)
        for value in held[number:]:
            others.add(value)
        return others, held[:number]


_BITS = 12
_MOST = 2**14
"""Values are taken as multiples of 2^-12 of the range's power of two, and clipped at four times of it. So each product
is an integer below 2^28, and float64 adds up 2^25 of them without rounding."""

LONGEST = 2**13
"""Vectors whose second moments are kept have so many values at most: 512 MiB a layer."""


@dataclass
class Rows:
    """A few vectors along the last axis of each sample, evenly spaced."""

    of_each: int
    kept: list[torch.Tensor] = field(default_factory=list)

    def add(self, value: torch.Tensor) -> None:
        """Take in the value that one sample gave."""
        rows = value.reshape(-1, value.shape[-1])
        self.kept.append(rows[:: -(-len(rows) // self.of_each)].clone())

    @property
    def values(self) -> torch.Tensor:
        """All that were kept (n x K)."""
        return torch.cat(self.kept)


@dataclass
class Patches:
    """Mean and second moments of the vectors that a layer multiplies by its weight.

    A linear multiplies the last axis; a convolution the patches under its kernel, padding included. ``second`` has
    shape (groups, K, K) with K the weights of one output, and is None above ``LONGEST``, ``mean`` (groups, K).
    ``step``: a power of two, of which values are taken as multiples; ``largest``: the largest magnitude of the range.
    """

    layer: fx.Node
    step: float
    largest: float = 0.0
    count: int = 0
    total: torch.Tensor | float = 0.0
    products: torch.Tensor | None = None

    @classmethod
    def within(cls, layer: fx.Node, found: Range) -> Patches:
        """Return empty moments of a layer whose input has this range."""
        largest = max(map(abs, (*found.low, *found.high))) or 1.0
        return cls(layer, 2.0 ** (math.ceil(math.log2(largest)) - _BITS), largest)

    def add(self, value: torch.Tensor) -> None:
        """Take in the input that one sample gave."""
        vectors = (patches(self.layer, value).double() / self.step).round_().clamp_(-_MOST, _MOST)
        self.count += vectors.shape[1]
        self.total = self.total + vectors.sum(1)
        if vectors.shape[2] <= LONGEST:
            products = vectors.transpose(1, 2) @ vectors
            self.products = products if self.products is None else self.products + products

    @property
    def mean(self) -> torch.Tensor:
        """Mean vector of each group."""
        return torch.as_tensor(self.total) * (self.step / self.count)

    @property
    def second(self) -> torch.Tensor | None:
        """Mean of the outer products of each group."""
        return None if self.products is None else self.products * (self.step**2 / self.count)


PATCHES: Need[Mapping[str, Patches]] = Need("what layers read", "give samples with --calib")
"""The patches of the layers of the float program, by name."""


def patches(layer: fx.Node, value: torch.Tensor) -> torch.Tensor:
    """Return the vectors that a linear, conv1d or conv2d multiplies: (groups, number of vectors, K)."""
    if layer.target is aten.linear.default:
        return value.reshape(1, -1, value.shape[-1])
    given = arguments(layer)
    kernel = given["weight"].meta["val"].shape[2:]
    is_line = layer.target is aten.conv1d.default
    if value.dim() == given["weight"].meta["val"].dim() - 1:
        value = value.unsqueeze(0)  # a sample without a batch
    if is_line:
        value = value.unsqueeze(-2)
    size, stride, dilation = ((1, *v) if is_line else pair(v) for v in (kernel, given["stride"], given["dilation"]))
    padding = (0, *given["padding"]) if is_line else pair(given["padding"])
    columns = functional.unfold(value, size, dilation, padding, stride)
    groups = given["groups"]
    batch, rows, length = columns.shape
    return (
        columns.reshape(batch, groups, rows // groups, length).permute(1, 0, 3, 2).reshape(groups, -1, rows // groups)
    )


def observe_patches(program: Program, data: CalibrationData, layers: Sequence[fx.Node]) -> dict[str, Patches]:
    """Run the data through ``program`` and return the patches of its layers, by name.

    Layers whose input has no range (see ``Program.ranges``) are left out.
    """
    found: dict[str, Patches] = {}
    by_input: dict[str, list[Patches]] = {}
    for layer in layers:
        name = arguments(layer)["input"].name
        if name in program.ranges:
            found[layer.name] = Patches.within(layer, program.ranges[name])
            by_input.setdefault(name, []).append(found[layer.name])
    observe(program, data, {name: Together(parts) for name, parts in by_input.items()})
    return found
