"""Which layers to blame where an artifact is slower than the plain export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt.records.layers import Layer


@dataclass(frozen=True)
class Regression:
    """Layers that together cost more than what computes the same in the plain export, the most expensive first.

    ``before``: cost there, in the latency's unit; 0 where the plain export has no such layer. ``after``: cost here.
    """

    layers: tuple[Layer, ...]
    before: float
    after: float

    @property
    def grown(self) -> float:
        """By how much they cost more."""
        return self.after - self.before


def regressions(layers: Sequence[Layer], plain: Sequence[Layer]) -> list[Regression]:
    """Return what costs more than in the plain export, worst first.

    A runtime names a fused layer after all that it computes (``conv2d,relu``). Layers correspond where they share
    such a part, and all that correspond to the same are compared together.
    """
    owner = {part: index for index, layer in enumerate(plain) for part in layer.name.split(",")}
    groups: list[tuple[list[Layer], set[int]]] = []
    for layer in layers:
        same = {owner[part] for part in layer.name.split(",") if part in owner}
        joined = [group for group in groups if group[1] & same]
        groups = [group for group in groups if not group[1] & same]
        groups.append((sum((one for one, _ in joined), [layer]), same.union(*(indices for _, indices in joined))))
    found = [
        Regression(
            tuple(sorted(group, key=_cost, reverse=True)), sum(_cost(plain[i]) for i in same), sum(map(_cost, group))
        )
        for group, same in groups
    ]
    return sorted((one for one in found if one.grown > 0), key=lambda one: -one.grown)


def _cost(layer: Layer) -> float:
    return layer.median or 0.0
