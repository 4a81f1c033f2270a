"""Names of tensors that a model and its weights do not share, as a message lists them."""

from __future__ import annotations

import difflib
from collections.abc import Collection

MOST = 6
"""Most names that a message lists of each kind."""


def disagreement(missing: Collection[str], left_over: Collection[str]) -> str:
    """Return which names the weights lack and which of theirs the model lacks, those with the nearest of the other."""
    facts = []
    if missing:
        facts.append(f"the weights lack {_listed(missing, left_over)}")
    if left_over:
        facts.append(f"the model lacks {_listed(left_over, () if missing else missing)}")
    return " and ".join(facts)


def _listed(names: Collection[str], others: Collection[str]) -> str:
    shown = [f"'{name}'{_nearest(name, others)}" for name in sorted(names)[:MOST]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({', '.join(shown)}{more})"


def _nearest(name: str, others: Collection[str]) -> str:
    close = difflib.get_close_matches(name, others, n=1, cutoff=0.6)
    return f" (nearest: '{close[0]}')" if close else ""
