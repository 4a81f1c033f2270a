"""What the runtime executed, layer by layer, as data: in which arithmetic, at what cost, and what not as asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgeopt.records.form import Record

_INDEX_TYPES = frozenset({"int64", "int32", "bool"})


@dataclass(frozen=True)
class Layer(Record):
    """One executed layer."""

    name: str
    """The program's nodes that it computes, by commas, parts of one as `linear/MatMul_0` or `linear.0`; what the
    runtime added by itself has a name of the runtime's."""
    type: str
    """What the runtime executed there."""
    precision: str | None
    """Arithmetic it really ran in."""
    median: float | None = None
    """Median cost in the latency's unit; null where the runtime does not tell."""
    share: float | None = None
    """Part of all layers' cost, 0 to 1."""

    @property
    def computes(self) -> tuple[str, ...]:
        """The names of the program's nodes that it computes, or computes a part of."""
        return nodes_of(self.name)


@dataclass(frozen=True)
class Fallback(Record):
    """A node that runs elsewhere or otherwise than asked."""

    node: str
    """The node."""
    op: str
    """Its operator."""
    reason: str
    """Why."""
    share: float | None = None
    """Its part of the time, 0 to 1, where known."""


def nodes_of(name: str) -> tuple[str, ...]:
    """Return the names of the program's nodes that a layer of this name computes, or computes a part of."""
    return tuple(dict.fromkeys(re.split("[/.]", part, maxsplit=1)[0] for part in name.split(",")))


def with_shares(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return layers with the part that each has of the cost of all."""
    total = sum(layer.median or 0.0 for layer in layers)
    if not total:
        return tuple(layers)
    return tuple(layer if layer.median is None else replace(layer, share=layer.median / total) for layer in layers)


def executed_precision(layers: Iterable[Layer]) -> str | None:
    """Return the precision of ``layers`` in one phrase: a single name, or names with their number of layers.

    Layers that only handle shapes and indices (int64, int32, bool) do not count beside others.
    """
    counts = Counter(layer.precision for layer in layers if layer.precision)
    arithmetic = Counter({name: number for name, number in counts.items() if name not in _INDEX_TYPES})
    counts = arithmetic or counts
    if len(counts) <= 1:
        return next(iter(counts), None)
    return ", ".join(f"{precision} ({number})" for precision, number in counts.most_common())
