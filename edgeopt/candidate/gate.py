"""The gate: of what was changed, as little as possible returns to what it was, worst first, until the limits hold.

Recipes and quantization have this one gate. They differ in what an attempt is, and in how it is known what hurts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from edgeopt.candidate.accuracy import Runner
from edgeopt.candidate.stages import Labeled
from edgeopt.ir.metrics import Reference, Sample
from edgeopt.records.outputs import EQUAL, Error


class Attempt(Protocol):
    """Something that was judged."""

    @property
    def ok(self) -> bool:
        """Whether the limits hold."""
        ...


A = TypeVar("A", bound=Attempt)


@dataclass(frozen=True)
class Held(Generic[A]):
    """``kept``: what returned. ``hurts``: signal to noise of the outputs in dB with each change alone, worst first;
    empty where it was not asked. ``attempts``: in order."""

    kept: tuple[str, ...]
    hurts: Mapping[str, float]
    attempts: tuple[A, ...]


def hold(judge: Callable[[Collection[str]], A], hurts: Callable[[], Mapping[str, float]]) -> Held[A]:
    """Return the fewest changes to take back, worst first, under which ``judge(kept)`` is content.

    ``hurts`` is asked where taking back none is not enough. The number is found by bisection: fewer changes are taken
    not to make things worse. Where even none of them helps all stay, for the limit is missed for another reason.
    """
    attempts = [judge(())]
    if attempts[0].ok:
        return Held((), {}, tuple(attempts))
    found = hurts()
    order = sorted(found, key=lambda name: (found[name], name))

    def holds(kept: Collection[str]) -> bool:
        attempts.append(judge(kept))
        return attempts[-1].ok

    kept = _fewest(order, holds)
    return Held(kept, {name: found[name] for name in order}, tuple(attempts))


def _fewest(order: Sequence[str], holds: Callable[[Collection[str]], bool]) -> tuple[str, ...]:
    """Return the shortest start of ``order`` for which ``holds`` is true, by bisection; none where all do not help.

    ``holds`` was false of nothing.
    """
    low, high = 0, len(order)
    if not holds(order):
        return ()
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(order[:middle]) else (middle, high)
    return tuple(order[:high])


def answers(
    run: Runner, reference: Reference, samples: Iterable[Sample], labeled: Labeled | None
) -> tuple[Error, float | None]:
    """Return the error on the verification inputs, and the accuracy where there is labeled data."""
    error = reference.compare(map(run, samples)).worst or EQUAL
    return error, labeled.accuracy(run) if labeled is not None else None
