"""Constant blocks of the kernels: weights, bias and multipliers in the order in which each ISA reads them.

Weights are int8 with zero point 0, ``bias`` int32 with ``-in_zero * sum(weights)`` already added, ``multiplier``
int32 in [0, 2**31). Each function returns the block as a one-dimensional int32 array (little-endian words); the
layouts are described at the head of each kernel's C file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.int32]
Weights = NDArray[np.int8]


def _pad(array: NDArray[Any], axis: int, multiple: int) -> NDArray[Any]:
    """``array`` with zeros appended along ``axis`` up to the next multiple."""
    width = [(0, 0)] * array.ndim
    width[axis] = (0, -array.shape[axis] % multiple)
    return np.pad(array, width)


def _words(array: NDArray[Any]) -> Words:
    """The bytes of ``array`` (last axis a multiple of 4 bytes) as little-endian words."""
    return np.ascontiguousarray(array).view("<i4")


def _rows(weights: Weights, multiple: int) -> Weights:
    """(out, ...) -> (out, k), k padded to ``multiple``."""
    return _pad(weights.reshape(len(weights), -1), 1, multiple)


def _records(weights: Weights, bias: Words, multiplier: Words) -> Words:
    """The scalar layout: bias, multiplier, then the weights of one output channel, channel after channel."""
    rows = _words(_rows(weights, 4))
    return np.concatenate([bias[:, None], multiplier[:, None], rows], axis=1).reshape(-1)


def fold_zero(weights: Weights, bias: Words, in_zero: int) -> NDArray[np.int64]:
    """``bias - in_zero * sum(weights)``, one an output channel."""
    sums: NDArray[np.int64] = weights.reshape(len(weights), -1).sum(axis=1, dtype=np.int64)
    return bias - in_zero * sums


def largest_sum(weights: Weights, bias: NDArray[np.int64]) -> int:
    """The largest magnitude of a sum that a kernel begins with ``bias`` and adds products of -128..127 to."""
    products = 128 * np.abs(weights.reshape(len(weights), -1).astype(np.int64)).sum(1)
    return int((np.abs(bias) + products).max())


def pack_shifts(weights: Weights, bias: Words, multiplier: Words) -> Words:
    """Block of ``eo_s8pow2_<op>__scalar``, from multipliers of 2^2 to 2^30: the bias takes the half of rounding.

    Raises ValueError where one is not a such power, or a sum may leave int32.
    """
    if (multiplier < 4).any() or (multiplier & (multiplier - 1)).any():
        raise ValueError(f"multipliers are not powers of two from 4 on: {sorted({*multiplier.tolist()})}")
    shift = (32 - np.log2(multiplier)).astype(np.int32)
    rounded = bias.astype(np.int64) + (np.int64(1) << (shift.astype(np.int64) - 1))
    if (largest := largest_sum(weights, rounded)) >= 2**31:
        raise ValueError(f"sums of up to {largest} leave int32")
    return _records(weights, rounded.astype(np.int32), shift)


def _blocks(weights: Words, bias: Words, multiplier: Words, channels: int) -> Words:
    """Blocks of ``channels`` outputs: their biases, their words interleaved step by step, their multipliers.

    ``weights`` is (outputs, steps, words a step).
    """
    w = _pad(weights, 0, channels)
    w = w.reshape(-1, channels, *w.shape[1:]).swapaxes(1, 2).reshape(len(w) // channels, -1)
    b = _pad(bias, 0, channels).reshape(-1, channels)
    m = _pad(multiplier, 0, channels).reshape(-1, channels)
    return np.concatenate([b, w, m], axis=1).reshape(-1)


def _pairs(weights: Weights) -> Words:
    """(outputs, k) int8, k a multiple of 4 -> (outputs, k / 2, 1) words of int16 pairs (k0,k2), (k1,k3)."""
    wide = weights.reshape(len(weights), -1, 2, 2).swapaxes(2, 3).astype("<i2")
    return _words(wide.reshape(len(weights), -1, 2))


def _quads(weights: Weights) -> Words:
    """(outputs, ...) int8 -> (outputs, k / 4, 1) words, k padded to a multiple of 4."""
    return _words(_rows(weights, 4))[..., None]


def _vectors(weights: Weights) -> Words:
    """(outputs, k) int8, k a multiple of 16 -> (outputs, k / 16, 4) words."""
    return _words(weights.reshape(len(weights), -1, 16))


def pack_conv2d(isa: str, weights: Weights, bias: Words, multiplier: Words) -> Words:
    """Block of ``eo_s8_conv2d__<isa>``; weights (out, kernel_h, kernel_w, in)."""
    match isa:
        case "scalar":
            return _records(weights, bias, multiplier)
        case "dsp":
            return _blocks(_quads(weights), bias, multiplier, channels=2)
        case "dsp16":
            return _blocks(_pairs(_rows(weights, 4)), bias, multiplier, channels=4)
        case "mve":
            return _blocks(_vectors(_rows(weights, 16)), bias, multiplier, channels=4)
    raise ValueError(f"no packing for s8_conv2d/{isa}")


def pack_depthwise_conv2d(isa: str, weights: Weights, bias: Words, multiplier: Words) -> Words:
    """Block of ``eo_s8_depthwise_conv2d__<isa>``; weights (channels, kernel_h, kernel_w)."""
    match isa:
        case "scalar":
            return _records(weights, bias, multiplier)
        case "dsp":
            columns = weights.swapaxes(1, 2).astype("<i2")
            pairs = _words(np.concatenate([columns[..., :2], columns[..., 1:]], axis=1)).reshape(-1, 6)
            return np.concatenate([bias[:, None], multiplier[:, None], pairs], axis=1).reshape(-1)
        case "mve":
            columns = np.pad(weights.swapaxes(1, 2), ((0, 0), (0, 1), (0, 1))).reshape(-1, 16)
            return np.concatenate([bias[:, None], multiplier[:, None], _words(columns)], axis=1).reshape(-1)
    raise ValueError(f"no packing for s8_depthwise_conv2d/{isa}")


def pack_linear(isa: str, weights: Weights, bias: Words, multiplier: Words) -> Words:
    """Block of ``eo_s8_linear__<isa>``; weights (out, in)."""
    match isa:
        case "scalar":
            return _records(weights, bias, multiplier)
        case "dsp":
            return _blocks(_quads(weights), bias, multiplier, channels=4)
        case "dsp16":
            return _blocks(_pairs(_rows(weights, 8)), bias, multiplier, channels=4)
        case "mve":
            return _blocks(_vectors(_rows(weights, 16)), bias, multiplier, channels=8)
    raise ValueError(f"no packing for s8_linear/{isa}")
