"""What all tests share: the same random numbers on every run, and one thread a process, for they run in several."""

from __future__ import annotations

import os

# Before torch is imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
