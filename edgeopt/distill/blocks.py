"""Swapped blocks beside the original's: what they read there, what they give, and how far off they are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.walk import evaluate
from edgeopt.distill.batches import Batch
from edgeopt.distill.loop import Parameters
from edgeopt.distill.swap import Swap
from edgeopt.ir.program import Program, origin

KEPT_BYTES = 4 * 2**30
"""Bytes of the original's values that are kept from step to step; batches beyond are computed anew each time."""


class Originals:
    """The original's values of some labels, batch by batch; kept while they fit into ``limit`` bytes."""

    def __init__(self, original: Program, wanted: Collection[str], limit: int = KEPT_BYTES) -> None:
        self.original, self.wanted, self._left = original, frozenset(wanted), limit
        self._kept: dict[Batch, dict[str, Any]] = {}

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """Return the values by label, all of one pass."""
        if batch in self._kept:
            return self._kept[batch]
        found: dict[str, Any] = {name: batch.values[name] for name in self.wanted & set(batch.values)}
        with torch.no_grad():
            self.original.evaluate(batch.values, observer(self.wanted, found))
        size = sum(value.nbytes for value in found.values() if isinstance(value, torch.Tensor))
        if size <= self._left:
            self._kept[batch] = found
            self._left -= size
        return found


class Blocks:
    """The swapped blocks, each evaluated on what the original's block read."""

    def __init__(self, swapped: Program, swaps: Sequence[Swap]) -> None:
        self.swapped, self.swaps = swapped, swaps
        self.nodes = {origin(node): node for node in swapped.graph.nodes if node.op != "output"}

    def loss(self, parameters: Parameters, values: dict[str, Any]) -> torch.Tensor:
        """Return the mean over blocks of the squared relative error."""
        return torch.stack([self._error(swap, parameters, values) for swap in self.swaps]).mean()

    def errors(self, parameters: Parameters, seen: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Return the relative error of each block over held-out samples."""
        sums: dict[str, list[float]] = {swap.original: [] for swap in self.swaps}
        with torch.no_grad():
            for values in seen:
                for swap in self.swaps:
                    sums[swap.original].append(float(self._error(swap, parameters, values)))
        return {label: math.sqrt(mean(found)) for label, found in sums.items()}

    def _error(self, swap: Swap, parameters: Parameters, values: dict[str, Any]) -> torch.Tensor:
        known = {self.nodes[label]: values[label] for label in swap.inputs}
        known |= {self.nodes[name]: parameters[name] for name in swap.parameters if name in parameters}
        return relative(evaluate(self.swapped, self.nodes[swap.original], known), values[swap.original])


def labels(swaps: Iterable[Swap]) -> set[str]:
    """Return the labels of all that the blocks read and give."""
    return {name for swap in swaps for name in (swap.original, *swap.inputs)}


def observer(wanted: Collection[str], found: dict[str, Any]) -> Any:
    """Return what keeps in ``found`` the values of the labels ``wanted`` while a program is evaluated."""

    def keep(node: fx.Node, value: Any) -> None:
        if origin(node) in wanted:
            found[origin(node)] = value

    return keep


def relative(value: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return the squared error relative to the square of what is expected."""
    return (value - expected).square().mean() / expected.square().mean().clamp_min(torch.finfo(value.dtype).tiny)


def mean(values: Iterable[float]) -> float:
    """Return the mean of at least one number."""
    found = list(values)
    return sum(found) / len(found)
