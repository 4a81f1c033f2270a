"""From estimates of each layer alone to a path of configurations, and from measured ones to their Pareto front.

Noise of layers adds up, as far as their errors are independent, and so do their costs. Of all configurations those are
worth trying that have the least noise at their cost; they lie on the convex hull and are reached from the most exact
configuration by exchanging one layer's format at a time, in the order of noise gained per cost saved (Y. Shoham and A.
Gersho, Efficient Bit Allocation for an Arbitrary Set of Quantizers, IEEE Transactions on Acoustics, Speech, and Signal
Processing, 1988).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Mix = dict[str, str]
"""The format of each layer."""

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """A format that a layer can take: the noise of the outputs with it alone (part of their power), and its cost."""

    format: str
    noise: float
    cost: float


def exchange_path(choices: Mapping[str, Sequence[Choice]]) -> list[Mix]:
    """Return the configurations on the convex hull of noise and cost, from the most exact to the cheapest."""
    mix = {layer: _most_exact(options).format for layer, options in choices.items()}
    exchanges = [(slope, layer, to) for layer, options in choices.items() for slope, to in _hull(options)]
    found = [dict(mix)]
    # Stable: the slopes of one layer rise along its own hull.
    for _, layer, to in sorted(exchanges, key=lambda exchange: exchange[0]):
        mix[layer] = to
        found.append(dict(mix))
    return found


def _most_exact(options: Sequence[Choice]) -> Choice:
    return min(options, key=lambda choice: (choice.noise, choice.cost))


def _hull(options: Sequence[Choice]) -> list[tuple[float, str]]:
    """Return the exchanges from the most exact format on, each with the noise it adds per cost it saves."""
    current, exchanges = _most_exact(options), []
    while cheaper := [choice for choice in options if choice.cost < current.cost]:
        start = current
        slope, _, _, current = min(
            ((choice.noise - start.noise) / (start.cost - choice.cost), choice.cost, choice.format, choice)
            for choice in cheaper
        )
        exchanges.append((slope, current.format))
    return exchanges


def spread(length: int, count: int) -> list[int]:
    """Return at most ``count`` places of a path of this length: both ends, and evenly between."""
    if length <= count:
        return list(range(length))
    return sorted({round(step * (length - 1) / (count - 1)) for step in range(count)})


def pareto(items: Mapping[T, tuple[float, ...]]) -> set[T]:
    """Return the items that no other is as good as in every respect and better in one; less is better."""
    return {name for name, own in items.items() if not any(_dominates(other, own) for other in items.values())}


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
