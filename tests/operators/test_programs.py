"""Random programs of supported operators: what is exported is torch eager, on every target that runs here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeopt.plugins.registry import resolve
from tests.operators.runner import THROUGH_EXPORTERS

ROOT = Path(__file__).resolve().parents[2]
MANY = pytest.param(200, marks=[pytest.mark.nightly, pytest.mark.timeout(0)])


@pytest.mark.parametrize("count", [3, MANY])
def test_random_programs_are_exported_as_they_compute(count: int) -> None:
    if absent := [str(probe.install) for name in THROUGH_EXPORTERS if not (probe := resolve(name).probe()).found]:
        pytest.skip(absent[0])
    # In a process that has run no model, for it forks.
    command = [sys.executable, "-W", "ignore", "-m", "tests.operators.random_programs", "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
