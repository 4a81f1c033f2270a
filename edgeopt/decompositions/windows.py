"""Windows of short-time transforms that are shorter than the transform, which torch pads in place.

stft(x, n, window=w)  =>  stft(x, n, window=pad(w))     with zeros on both sides up to n values
"""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten


def _is_short(given: Arguments) -> bool:
    return bool((given["win_length"] or given["n_fft"]) < given["n_fft"])


@decomposes(aten.stft.default, where=_is_short)
def short_time(
    x: torch.Tensor, size: int, hop: int | None, length: int, window: torch.Tensor | None, *given: bool | None
) -> torch.Tensor:
    """Return the transforms of ``x`` [batch, time] or [time], ``window`` [length] in the middle of each."""
    window = torch.ones(length, dtype=x.dtype) if window is None else window
    before = (size - length) // 2
    padded = functional.pad(window, [before, size - length - before])
    result: torch.Tensor = aten.stft.default(x, size, hop, size, padded, *given)
    return result
