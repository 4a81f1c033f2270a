"""Memory facts of the kernels that a planner needs: which shapes they take, their scratch, and how far input and
output may overlap.

A *distance* is the least ``address(x) - address(y)``, in bytes, at which the kernel never overwrites an input that
it still reads. It is found by walking the kernel's order of reads and writes.
"""

from __future__ import annotations

import numpy as np

from edgeopt.kernels.mcu.reference import Window

Shape = tuple[int, int, int]


def patch_bytes(window: Window, channels: int) -> int:
    """Bytes of one patch, up to a multiple of 4: ``eo_patch_bytes``."""
    return -(-window.kernel[0] * window.kernel[1] * channels // 4) * 4


def conv2d_scratch(isa: str, window: Window, x: Shape, y: Shape, residual: bool) -> int:
    """Scratch bytes of ``eo_s8_conv2d__<isa>``."""
    if isa in ("dsp", "dsp16"):
        return 6 * patch_bytes(window, x[2]) + 8 + (2 * y[2] if residual else 0)
    if isa == "mve":
        patch = window.kernel[0] * window.kernel[1] * x[2]
        return 2 * (-(-patch // 16) * 16) + (2 * y[2] if residual else 0)
    return 0


def conv2d_distance(isa: str, window: Window, x: Shape, y: Shape) -> int:
    """Least x - y of ``eo_s8_conv2d__<isa>``: all but scalar write only after two pixels were read.

    mve reads the pixels of a pointwise convolution in place, channel block after channel block: it writes behind them.
    """
    if isa == "scalar":
        return _distance(window, x, y)
    in_place = isa == "mve" and window.kernel == (1, 1)
    return _distance(window, x, y, step=2, before=not in_place)


def coded_conv2d_scratch(isa: str, window: Window, x: Shape, y: Shape, residual: bool) -> int:
    """Scratch bytes of ``eo_w4_conv2d__<isa>``."""
    if isa == "dsp":
        return 10 * patch_bytes(window, x[2]) + 8 + (4 * y[2] if residual else 0)
    return conv2d_scratch(isa, window, x, y, residual)


def coded_conv2d_distance(isa: str, window: Window, x: Shape, y: Shape) -> int:
    """Least x - y of ``eo_w4_conv2d__<isa>``: dsp writes only after four pixels were read."""
    return _distance(window, x, y, step=4, before=True) if isa == "dsp" else conv2d_distance(isa, window, x, y)


def supports_depthwise(isa: str, window: Window, channels: int) -> bool:
    """Whether ``eo_s8_depthwise_conv2d__<isa>`` takes this shape."""
    if isa == "scalar":
        return True
    return window.kernel == (3, 3) and window.stride in ((1, 1), (2, 2)) and (isa == "mve" or channels % 4 == 0)


def depthwise_scratch(isa: str, window: Window, x: Shape, y: Shape) -> int:
    """Scratch bytes of ``eo_s8_depthwise_conv2d__<isa>``."""
    if isa == "dsp":
        return 32 * ((y[1] - 1) * window.stride[1] + 3)
    if isa == "mve":
        return 64 * (2 * (-(-y[1] // 4) * 4) + 2 if window.stride[1] == 2 else -(-y[1] // 2) * 2 + 2)
    return 0


def depthwise_distance(isa: str, window: Window, x: Shape, y: Shape) -> int:
    """Least x - y of ``eo_s8_depthwise_conv2d__<isa>``.

    dsp and mve go through all rows, a group of channels after the other, so that a group may only write over itself:
    their distance is a number of whole pixels and holds exactly.
    """
    if isa == "scalar":
        return _distance(window, x, y)
    rounds = np.arange(-(-y[0] * window.stride[0] // 2))
    written = np.minimum((rounds + 1) * (3 - window.stride[0]), y[0]) * y[1]
    kept = 4 if isa == "dsp" else 2  # dsp keeps the lower rows of a round for the next, mve reads them again
    read = np.maximum(2 * rounds + kept - window.padding[0], 0) * x[1]
    return max(0, int((written - read)[:-1].max(initial=0))) * x[2]


def _distance(window: Window, x: Shape, y: Shape, step: int = 1, before: bool = False) -> int:
    """For ``step`` pixels at a time in raster order; ``before``: all reads of a step precede its writes."""
    rows, columns = np.arange(y[0]), np.arange(y[1])
    top = np.maximum(rows * window.stride[0] - window.padding[0], 0)[:, None]
    left = np.maximum(columns * window.stride[1] - window.padding[1], 0)[None, :]
    read_from = ((top * x[1] + left) * x[2]).reshape(-1)
    still_read = np.minimum.accumulate(read_from[::-1])[::-1][::step]
    written = np.minimum(np.arange(step, y[0] * y[1] + step, step), y[0] * y[1]) * y[2]
    if before:
        written, still_read = written[:-1], still_read[1:]
    return int((written - still_read).max(initial=-(x[0] * x[1] * x[2])))


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def matmul_scratch(isa: str, depth: int, columns: int) -> int:
    """Scratch bytes of ``eo_s8_matmul__<isa>``."""
    line = _up(2 * columns, 4)
    if isa == "dsp":
        return _up(columns, 4) // 4 * (32 + 8 * _up(depth, 4)) + 6 * _up(depth, 4) + 8 + line
    if isa == "mve":
        return _up(columns, 4) // 4 * (32 + 4 * _up(depth, 16)) + 2 * _up(depth, 16) + line
    return 0


def attention_scratch(isa: str, size: int, positions: int, out_size: int) -> int:
    """Scratch bytes of ``eo_s8_attention__<isa>`` for heads of ``size`` that look at ``positions`` others."""
    if isa == "scalar":
        return positions
    both = matmul_scratch(isa, size, positions) + matmul_scratch(isa, positions, out_size)
    return both + (16 if isa == "mve" else 0)


def overread(op: str, isa: str, patch: int, row: int) -> int:
    """Bytes that ``eo_s8_<op>__<isa>`` may read behind its input.

    ``patch`` and ``row`` are the bytes of a patch (the inputs of a fully connected layer) and of one of its rows.
    """
    if op == "conv2d" and isa in ("dsp", "dsp16"):
        return 3 if row % 4 else 0
    if op == "linear" and isa in ("dsp", "dsp16"):
        return -patch % (8 if isa == "dsp16" else 4)
    if op in ("avg_pool2d", "matmul", "attention") and isa == "dsp":
        return 3
    if isa == "mve" and op in ("conv2d", "linear", "depthwise_conv2d", "matmul"):
        return max(-row % 16, -patch % 16)
    return 0
