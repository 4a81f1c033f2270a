"""All cases in shards: the first of those written by hand, the others of these, and every n-th of torch's database.

The first shard is in ``make test``: a few programs on each target, about two CPU-minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.operators import forms, modules, opinfo, usual
from tests.operators.cases import Case
from tests.operators.runner import TARGETS, Group, Outcome, outcomes, traced

SHARDS = 7
_BY_DAY, _SIDE_BY_SIDE = 250, 125

Results = dict[str, dict[str, Outcome]]
"""Outcomes by the name of the case and of the target."""


def shard(index: int) -> list[Case]:
    """Return the cases of a shard; the same ones every time."""
    if index > 1:
        return list(opinfo.cases(index - 2, SHARDS - 2))
    written = [*forms.cases(), *modules.cases(), *usual.cases()]
    return written[_BY_DAY:] if index else written[:_BY_DAY]


def trace(cases: list[Case]) -> Iterator[tuple[list[Group], dict[str, Outcome]]]:
    """Yield the cases as programs, and what became of those that cannot be traced."""
    for start in range(0, len(cases), _SIDE_BY_SIDE):
        yield traced(cases[start : start + _SIDE_BY_SIDE])


def run(cases: list[Case], targets: tuple[str, ...] = TARGETS) -> Results:
    """Return what becomes of cases on targets."""
    results: Results = {}
    for groups, lost in trace(cases):
        for target in targets:
            found = dict(lost)
            for group in groups:
                found.update(outcomes(group, target))
            for name, outcome in found.items():
                results.setdefault(name, {})[target] = outcome
    return results
