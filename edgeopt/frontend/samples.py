"""Sample inputs that users give: made plain, and named after the model's inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from edgeopt.errors import UserError
from edgeopt.ir.metrics import Arrays, Sample


def plain(sample: Arrays) -> Sample:
    """Return arrays of numbers in this machine's byte order.

    Raises UserError where there is none, or one holds what no tensor can: texts, times, objects, records.
    """
    if not sample:
        raise UserError("the sample holds no array", "give an array for every input, by name")
    return {name: _plain(name, np.asarray(array)) for name, array in sample.items()}


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.size:
        shape = "x".join(map(str, array.shape))
        raise UserError(f"array '{name}' of the sample has shape {shape}, so no value", "give sizes of at least 1")
    try:
        torch.from_numpy(np.empty(0, array.dtype))
    except (TypeError, ValueError):
        raise UserError(f"array '{name}' of the sample holds {array.dtype}", "give numbers or booleans") from None
    return array


def named(sample: Arrays, names: Sequence[str]) -> Sample:
    """Return the sample with a lone nameless array, as an ``.npy`` holds, under the name of the model's only input.

    Raises UserError where the model has several inputs.
    """
    if list(sample) != [""]:
        return dict(sample)
    if len(names) != 1:
        raise UserError(
            f"the sample is one array without a name, and the model reads {', '.join(names)}",
            "give an .npz file with the arrays by name: numpy.savez(path, name=array)",
        )
    return {names[0]: sample[""]}
