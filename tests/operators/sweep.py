"""All cases in shards: the first are those written by hand, the others every n-th operator of torch's database."""

from __future__ import annotations

from collections.abc import Iterator

from tests.operators import modules, opinfo, usual
from tests.operators.cases import Case
from tests.operators.runner import TARGETS, Group, Outcome, outcomes, traced

SHARDS = 6
_SIDE_BY_SIDE = 80

Results = dict[str, dict[str, Outcome]]
"""Outcomes by the name of the case and of the target."""


def shard(index: int) -> list[Case]:
    """Return the cases of a shard; the same ones every time."""
    return list(opinfo.cases(index - 1, SHARDS - 1)) if index else [*modules.cases(), *usual.cases()]


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
