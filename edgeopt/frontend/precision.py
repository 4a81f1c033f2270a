"""The type of stored weights, where the model that they go into computes in another."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from edgeopt.ir.program import dtype_name


def upcast_note(stored: Iterable[torch.Tensor], to: torch.dtype = torch.float32) -> tuple[str, ...]:
    """Return what is to be told of stored floating-point tensors that are held in another type."""
    others = {one.dtype for one in stored if one.is_floating_point()} - {to}
    return tuple(
        f"weights stored in {dtype_name(dtype)} are held in {dtype_name(to)}, {_how(dtype, to)}"
        for dtype in sorted(others, key=str)
    )


def _how(stored: torch.dtype, to: torch.dtype) -> str:
    exact = torch.promote_types(stored, to) == to
    return "which holds their values exactly" if exact else "which rounds their values"
