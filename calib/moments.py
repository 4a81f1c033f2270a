"""What recovery passes want to know of a layer's input: channel magnitudes, mean, second moments.

Sums are taken in float64, in the order of the samples: another order may change the last bits of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx
from torch.nn import functional

from edgeopt.calib.data import CalibrationData
from edgeopt.calib.observe import Accumulator, observe
from edgeopt.program import Program
from edgeopt.rewrite import arguments

aten = torch.ops.aten


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


class HeldOut:
    """Channels of all samples and of every other one, and a few of the samples left out of the latter."""

    def __init__(self, axis: int, keep: int) -> None:
        self.all, self.half = Channels(axis), Channels(axis)
        self.keep = keep
        self.values: list[torch.Tensor] = []
        self.count = 0

    def add(self, value: torch.Tensor) -> None:
        """Take in the value that one sample gave."""
        self.all.add(value)
        if self.count % 2 == 0:
            self.half.add(value)
        elif len(self.values) < self.keep:
            self.values.append(value)
        self.count += 1


@dataclass
class Patches:
    """Mean and second moments of the vectors that a layer multiplies by its weight.

    A linear multiplies the last axis; a convolution the patches under its kernel, padding included. ``second`` has
    shape (groups, K, K) with K the weights of one output, ``mean`` (groups, K).
    """

    layer: fx.Node
    count: int = 0
    total: torch.Tensor | float = 0.0
    products: torch.Tensor | float = 0.0

    def add(self, value: torch.Tensor) -> None:
        """Take in the input that one sample gave."""
        vectors = patches(self.layer, value).double()
        self.count += vectors.shape[1]
        self.total = self.total + vectors.sum(1)
        self.products = self.products + vectors.transpose(1, 2) @ vectors

    @property
    def mean(self) -> torch.Tensor:
        """Mean vector of each group."""
        return torch.as_tensor(self.total) / self.count

    @property
    def second(self) -> torch.Tensor:
        """Mean of the outer products of each group."""
        return torch.as_tensor(self.products) / self.count


def patches(layer: fx.Node, value: torch.Tensor) -> torch.Tensor:
    """Return the vectors that a linear, conv1d or conv2d multiplies: (groups, number of vectors, K)."""
    if layer.target is aten.linear.default:
        return value.reshape(1, -1, value.shape[-1])
    given = arguments(layer)
    kernel = given["weight"].meta["val"].shape[2:]
    is_line = layer.target is aten.conv1d.default
    if is_line:
        value = value.unsqueeze(-2)
    size, stride, dilation = ((1, *v) if is_line else _pair(v) for v in (kernel, given["stride"], given["dilation"]))
    padding = (0, *given["padding"]) if is_line else _pair(given["padding"])
    columns = functional.unfold(value, size, dilation, padding, stride)
    groups = given["groups"]
    batch, rows, length = columns.shape
    return (
        columns.reshape(batch, groups, rows // groups, length).permute(1, 0, 3, 2).reshape(groups, -1, rows // groups)
    )


def _pair(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(values) * 2 if len(values) == 1 else tuple(values)


def observe_patches(program: Program, data: CalibrationData, layers: Sequence[fx.Node]) -> dict[str, Patches]:
    """Run the data through ``program`` and return the patches of each of its layers, by name."""
    found = {layer.name: Patches(layer) for layer in layers}
    by_input: dict[str, list[Patches]] = {}
    for layer in layers:
        by_input.setdefault(arguments(layer)["input"].name, []).append(found[layer.name])
    observe(program, data, {name: Together(parts) for name, parts in by_input.items()})
    return found
