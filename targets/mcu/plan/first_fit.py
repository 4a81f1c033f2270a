"""The arena: one offset for every tensor and scratch buffer.

Two buffers that live at the same time lie apart, with one exception: a node's output may overlap an input that dies
there, as far as its kernel's order of reads and writes allows (``Sharing``). In-place operation and the diagonal
overlap of a convolution's input and output are both that.

Offsets are found by first fit over many orders: the largest first, ties by time forwards and backwards, then seeded
shuffles; the lowest peak wins.
The overlap of input and output follows Svoboda et al., Diagonal Memory Optimization for Machine Learning on
Micro-controllers, 2020 (arXiv:2010.01668).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 4
_SHUFFLES = 200


@dataclass(frozen=True)
class Sharing:
    """``offset(source) - offset(target)`` may be ``least`` or more; ``exact``: ``least`` and nothing else."""

    source: str
    target: str
    least: int
    exact: bool = False

    def allows(self, source_offset: int, target_offset: int) -> bool:
        """Whether these offsets keep the distance."""
        distance = source_offset - target_offset
        return distance == self.least if self.exact else distance >= self.least


@dataclass(frozen=True)
class Buffer:
    """Bytes that live from step ``first`` to step ``last``, both included; readers may run ``overread`` bytes on."""

    name: str
    size: int
    first: int
    last: int
    overread: int = 0


@dataclass(frozen=True)
class Plan:
    """Offsets in bytes by buffer, and the arena's size."""

    offsets: Mapping[str, int]
    arena_bytes: int


def plan(buffers: Sequence[Buffer], sharings: Sequence[Sharing]) -> Plan:
    """Place the buffers; the same input gives the same plan."""
    rng = random.Random(0)
    by_size = sorted(buffers, key=lambda b: (-b.size, b.first, b.name))
    # Where every output wants to lie in front of its input, the last one has to be placed first.
    from_end = sorted(buffers, key=lambda b: (-b.size, -b.first, b.name))
    pairs = {frozenset((s.source, s.target)): s for s in sharings}
    floor = _floor(buffers, sharings)
    best = min((_first_fit(order, pairs) for order in (by_size, from_end)), key=lambda p: p.arena_bytes)
    for _ in range(_SHUFFLES):
        if best.arena_bytes <= floor:
            break
        keys = {b.name: b.size * rng.uniform(0.3, 1.0) for b in by_size}
        best = min(best, _first_fit(sorted(by_size, key=lambda b: -keys[b.name]), pairs), key=lambda p: p.arena_bytes)
    return best


def _floor(buffers: Sequence[Buffer], sharings: Sequence[Sharing]) -> int:
    """Bytes that no plan goes below: what lives at one time, all that may overlap counted as overlapping wholly."""
    by_name = {b.name: b for b in buffers}
    saved = {step: 0 for b in buffers for step in (b.first, b.last)}
    for sharing in sharings:
        source, target = by_name[sharing.source], by_name[sharing.target]
        if source.last in saved:
            saved[source.last] += min(source.size, target.size)
    alone = max((b.size + b.overread for b in buffers), default=0)
    together = (sum(b.size for b in buffers if b.first <= step <= b.last) - less for step, less in saved.items())
    return max(alone, *together, 0)


def _up(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _first_fit(order: Sequence[Buffer], pairs: Mapping[frozenset[str], Sharing]) -> Plan:
    placed: dict[str, tuple[Buffer, int]] = {}
    for buffer in order:
        rivals = [(b, at) for b, at in placed.values() if b.first <= buffer.last and buffer.first <= b.last]
        candidates = {0}
        for rival, at in rivals:
            candidates |= {_up(at + rival.size), (at - buffer.size) // ALIGNMENT * ALIGNMENT}
            sharing = pairs.get(frozenset((buffer.name, rival.name)))
            if sharing and sharing.source == buffer.name:
                candidates.add(_up(at + sharing.least))
            elif sharing:
                candidates.add((at - sharing.least) // ALIGNMENT * ALIGNMENT)
        fitting = (c for c in sorted(candidates) if c >= 0 and all(_fits(buffer, c, *rival, pairs) for rival in rivals))
        placed[buffer.name] = (buffer, next(fitting))
    top = max((at + b.size + b.overread for b, at in placed.values()), default=0)
    return Plan({name: at for name, (_, at) in sorted(placed.items())}, _up(top))


def _fits(buffer: Buffer, at: int, rival: Buffer, rival_at: int, pairs: Mapping[frozenset[str], Sharing]) -> bool:
    if at + buffer.size <= rival_at or rival_at + rival.size <= at:
        return True
    sharing = pairs.get(frozenset((buffer.name, rival.name)))
    if sharing is None:
        return False
    return sharing.allows(at, rival_at) if sharing.source == buffer.name else sharing.allows(rival_at, at)
