"""The type of stored weights, where the model that they go into computes in another."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from edgeopt.ir.program import dtype_name


def cast_notes(stored: Iterable[tuple[torch.dtype, torch.dtype]]) -> tuple[str, ...]:
    """Return what is to be told of floating-point tensors stored in one type and held in another."""
    casts = {(old, new) for old, new in stored if old.is_floating_point and old != new}
    return tuple(
        f"weights stored in {dtype_name(old)} are held in {dtype_name(new)}, {_how(old, new)}"
        for old, new in sorted(casts, key=str)
    )


def _how(old: torch.dtype, new: torch.dtype) -> str:
    return "which holds their values exactly" if torch.promote_types(old, new) == new else "which rounds their values"
