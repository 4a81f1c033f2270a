"""Commands killed at random moments, in a process of their own: 20 times always, 200 times nightly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, pytest.param(200, marks=[pytest.mark.nightly, pytest.mark.timeout(0)])])
def test_a_kill_leaves_no_half_and_changes_no_result(count: int) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.kills", "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout or done.stderr[-3000:]
