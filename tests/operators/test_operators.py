"""The sweep as a test: every case is equal to torch eager, or refused in one sentence, and the manual says so."""

from __future__ import annotations

from functools import cache

import pytest

from edgeopt.plugins.registry import resolve
from tests.operators import sweep, table
from tests.operators.runner import TARGETS, Group, Outcome, outcomes

SHARDS = [0, *(pytest.param(index, marks=pytest.mark.nightly) for index in range(1, sweep.SHARDS))]
_ALIKE = {kind: {"exact", "close"} for kind in ("exact", "close")}
"""Last bits are the processor's."""


@cache
def traced(shard: int) -> list[tuple[list[Group], dict[str, Outcome]]]:
    return list(sweep.trace(sweep.shard(shard)))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shard", SHARDS)
def test_every_operator_equals_torch_or_is_refused(shard: int, target: str) -> None:
    if not (probe := resolve(target).probe()).found:
        pytest.skip(str(probe.install))
    found: dict[str, Outcome] = {}
    for groups, lost in traced(shard):
        found.update(lost)
        for group in groups:
            found.update(outcomes(group, target))
    broken = {name: outcome for name, outcome in found.items() if not outcome.holds}
    assert not broken, "\n".join(f"{name}: {outcome.kind}, {outcome.reason}" for name, outcome in broken.items())
    manual = table.kinds()
    told = {name: manual.get(name.split(" ")[0], {}).get(target, set()) for name in found}
    stale = {name for name, kinds in told.items() if not _ALIKE.get(kind := found[name].kind, {kind}) & kinds}
    assert not stale, f"docs/operators.md says otherwise of {sorted(stale)}: write it again with {table.COMMAND}"
