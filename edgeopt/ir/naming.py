"""Names that are each one's own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count


def distinct(wishes: Sequence[str], joint: str = "_") -> list[str]:
    """Return a name for each wish: the first of equal ones is granted, others get ``joint`` and a number from 2 on.

    No name that is made so is the wish of another.
    """
    taken, names = set(wishes), []
    granted: set[str] = set()
    for wish in wishes:
        spellings = (f"{wish}{joint}{number}" for number in count(2))
        name = wish if wish not in granted else next(spelling for spelling in spellings if spelling not in taken)
        taken.add(name)
        granted.add(wish)
        names.append(name)
    return names
