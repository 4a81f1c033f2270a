"""What all tests share: the same random numbers on every run, and one thread a process, for they run in several."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Before torch is imported; processes that tests start inherit both.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Not the user's cache, but one that outlives the run: kernels are compiled once.
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"edgeopt-tests-{os.getuid()}")

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
