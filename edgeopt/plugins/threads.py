"""How many threads torch uses, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_MACS = 50_000_000
"""Multiply-accumulates of one inference below which starting threads costs more than it saves."""


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set torch's thread count, and put it back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fitting_threads(macs: int) -> int:
    """Return one thread for a small inference, torch's own count for others."""
    return 1 if macs < SMALL_MACS else torch.get_num_threads()
