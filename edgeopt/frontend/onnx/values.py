"""Values between nodes of an ONNX graph: tensors, and what is known of them while the program is traced.

ONNX computes shapes with tensors of integers. Torch computes them in Python, where they are numbers or symbols. A value
whose elements are known is therefore kept as such, so that a reshape finds the sizes that it asks for, and a static
model becomes a static program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Known:
    """A value whose elements are known: an initializer, a constant, or what is computed of sizes.

    ``array`` holds objects where some elements are symbols (sizes that may vary). ``stored`` is the tensor of an
    initializer, which is used where a tensor is asked for.
    """

    array: Array
    stored: torch.Tensor | None = None

    @property
    def is_symbolic(self) -> bool:
        """Whether some elements are symbols."""
        return bool(self.array.dtype == object)


Value = torch.Tensor | Known


def known(sizes: Any) -> Known:
    """Return a value of sizes, which may be symbols: a sequence or one of them."""
    array = np.array(sizes, dtype=object)
    is_plain = all(isinstance(item, int) for item in array.flat)
    return Known(array.astype(np.int64) if is_plain else array)


def tensor(value: Value) -> torch.Tensor:
    """Return a value as a tensor."""
    if isinstance(value, torch.Tensor):
        return value
    if value.stored is not None:
        return value.stored
    if not value.is_symbolic:
        return torch.tensor(value.array)
    kind = torch.float32 if any(isinstance(item, torch.SymFloat) for item in value.array.flat) else torch.int64
    items = [torch.scalar_tensor(item, dtype=kind) for item in value.array.flat]
    return torch.stack(items).reshape(value.array.shape)
