"""What all tests share: the same random numbers on every run, and one thread a process, for they run in several."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported; processes that tests start inherit both.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Not the user's cache, but one that outlives the run: kernels are compiled once.
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"edgeopt-tests-{os.getuid()}")

import pytest
import torch
from torch._export import utils as exporting


@pytest.fixture(autouse=True, scope="session")
def _operators_listed_once() -> Iterator[None]:
    """Let torch.export look at operators that are implicitly composite only where new ones are registered.

    It asks for each of them by name, once a namespace, many times an export: a third of what an export here takes.
    """
    look_at_all, seen = exporting._materialize_cpp_cia_ops, set[str]()

    def look_at_new() -> None:
        registered = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if not seen.issuperset(registered):
            look_at_all()
            seen.update(registered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "_materialize_cpp_cia_ops", look_at_new)
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
