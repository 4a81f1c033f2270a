"""Examples that do not look like the calibration data: ranges that were calibrated on other data make INT8 useless."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edgeopt.ir.program import Range

_CLIPPED = 0.1
"""Share of an example's values outside the range from which it is told."""
_WIDER = 20.0
"""How many times wider than the example a range may be: little more than three of eight bits are left beyond."""


def out_of_range(example: Mapping[str, np.ndarray], ranges: Mapping[str, Range]) -> Iterator[str]:
    """Yield in words which inputs of the example the calibrated ranges do not fit."""
    for name, array in example.items():
        if name not in ranges or array.dtype.kind != "f" or not array.size:
            continue
        low, high = min(ranges[name].low), max(ranges[name].high)
        least, most = float(array.min()), float(array.max())
        clipped = float(((array < low) | (array > high)).mean())
        if clipped > _CLIPPED or high - low > _WIDER * (most - least) > 0:
            yield (
                f"the example of input '{name}' lies in {least:.3g}..{most:.3g}, and the calibration data in "
                f"{low:.3g}..{high:.3g}: INT8 is right for the latter alone; is it prepared as the model's input is?"
            )
