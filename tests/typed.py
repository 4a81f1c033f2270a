"""What type checkers do not see of calls that tests make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def some(value: T | None) -> T:
    """Return a value that is not None."""
    assert value is not None
    return value


def savez(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by their names, none of which is the option that ``numpy.savez`` has besides them."""
    assert "allow_pickle" not in arrays
    entries: dict[str, Any] = {**arrays}
    np.savez(path, **entries)
