"""Mutated files, read in a process of their own: 2,000 always, 100,000 nightly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=[pytest.mark.nightly, pytest.mark.timeout(0)])])
def test_damaged_files_are_read_or_refused(count: int) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    last = done.stderr.splitlines()[-20:]
    assert done.stdout, f"the readers' process ended with {done.returncode} at: {last}"
    found = json.loads(done.stdout)
    assert found["cases"] >= 0.99 * count
    assert all(run["refused"] for run in found["surfaces"]), "a surface whose files are never damaged tests nothing"
    assert not [finding for run in found["surfaces"] for finding in run["findings"]]
