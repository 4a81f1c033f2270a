"""The sweep as a test: every case is equal to torch eager, or refused in one sentence, and the manual says so."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from edgeopt.plugins.registry import resolve
from tests.operators import sweep, table
from tests.operators.__main__ import read
from tests.operators.runner import TARGETS, Outcome

ROOT = Path(__file__).resolve().parents[2]
SHARDS = [
    0,
    *(pytest.param(index, marks=[pytest.mark.nightly, pytest.mark.timeout(0)]) for index in range(1, sweep.SHARDS)),
]
_ALIKE = {kind: {"exact", "close"} for kind in ("exact", "close")}
"""Last bits are the processor's."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function from the index of a shard to its outcomes, which a process of their own finds once.

    It forks: a process in which a test has run a model cannot, for its forks lack the threads that they wait for.
    """

    @cache
    def of(shard: int) -> sweep.Results:
        file = tmp_path_factory.mktemp("operators") / "results.json"
        command = [sys.executable, "-W", "ignore", "-m", "tests.operators", "--shard", str(shard)]
        done = subprocess.run([*command, "--results", str(file)], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-3000:]
        return read(file)

    return of


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shard", SHARDS)
def test_every_operator_equals_torch_or_is_refused(results: Any, shard: int, target: str) -> None:
    if not (probe := resolve(target).probe()).found:
        pytest.skip(str(probe.install))
    found: dict[str, Outcome] = {name: outcomes[target] for name, outcomes in results(shard).items()}
    broken = {name: outcome for name, outcome in found.items() if not outcome.holds}
    assert not broken, "\n".join(f"{name}: {outcome.kind}, {outcome.reason}" for name, outcome in broken.items())
    manual = table.kinds()
    told = {name: manual.get(name.split(" ")[0], {}).get(target, set()) for name in found}
    stale = {name for name, kinds in told.items() if not _ALIKE.get(kind := found[name].kind, {kind}) & kinds}
    assert not stale, f"docs/operators.md says otherwise of {sorted(stale)}: write it again with {table.COMMAND}"
