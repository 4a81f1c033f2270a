"""Padding by values from the other end.

    pad(x, (before, after, ..), "circular")  =>  cat([end of x, x, start of x]) along each axis in turn

ONNX has had the mode since opset 19, and not every reader knows it.

Source: torch, documentation of ``torch.nn.CircularPad2d``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten


def _wraps(given: Arguments) -> bool:
    return given["mode"] == "circular" and all(width >= 0 for width in given["pad"])


@decomposes(aten.pad.default, where=_wraps)
def pad(x: torch.Tensor, widths: Sequence[int], mode: str, value: float | None) -> torch.Tensor:
    """Return ``x`` with the start of each padded axis after its end, and the end before its start."""
    for place in range(len(widths) // 2):
        axis, before, after = x.dim() - 1 - place, widths[2 * place], widths[2 * place + 1]
        ends = x.narrow(axis, x.shape[axis] - before, before), x.narrow(axis, 0, after)
        parts = [part for part, width in zip((ends[0], x, ends[1]), (before, 1, after), strict=True) if width]
        x = torch.cat(parts, axis) if len(parts) > 1 else x
    return x
