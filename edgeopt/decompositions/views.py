"""Views that are lazy in torch: the sign that a view turns when it is read is turned at once."""

from __future__ import annotations

import torch

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


@decomposes(aten._neg_view.default)
def negative(x: torch.Tensor) -> torch.Tensor:
    """Return -``x`` [...]."""
    return torch.neg(x)
