"""What type checkers do not see of calls that tests make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgeopt.ir.program import TensorSpec

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


def fixed_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of an input that has no dynamic dimension."""
    assert not [size for size in spec.shape if isinstance(size, str)]
    return tuple(size for size in spec.shape if isinstance(size, int))
