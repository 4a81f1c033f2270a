"""Constant blocks of the kernels whose weights are codes of four bits: ``eo_w4_<op>__<isa>``.

``numbers`` are the sixteen weights by code, the first of them 0; ``weights`` are int8 and each one of them. Bias and
multiplier are those of ``packing``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeopt.kernels.mcu.packing import Weights, Words, _pad, _rows

Codes = NDArray[np.uint8]
_HALF = np.uint8(4)


def pack_table(isa: str, numbers: Weights) -> Words:
    """What the kernels of an ISA look codes up in."""
    if isa != "dsp":
        return numbers.view("<i4")
    pairs = np.stack([np.tile(numbers, 16), np.repeat(numbers, 16)], axis=1).astype("<i2")
    return np.ascontiguousarray(pairs).view("<i4").reshape(-1)


def pack_conv2d(isa: str, weights: Weights, numbers: Weights, bias: Words, multiplier: Words) -> Words:
    """Block of ``eo_w4_conv2d__<isa>``; weights (out, kernel_h, kernel_w, in)."""
    match isa:
        case "scalar":
            rows = _bytes(_codes(_rows(weights, 2), numbers))
        case "dsp":
            rows = _paired(_codes(_rows(weights, 4), numbers))
        case "mve":
            return _vectors(weights, numbers, bias, multiplier, channels=4)
        case _:
            raise ValueError(f"no packing for w4_conv2d/{isa}")
    factors = np.stack([bias, multiplier], axis=1).reshape(-1)
    return np.concatenate([factors, _pad(rows.reshape(-1), 0, 4).view("<i4")])


def pack_linear(isa: str, weights: Weights, numbers: Weights, bias: Words, multiplier: Words) -> Words:
    """Block of ``eo_w4_linear__<isa>``; weights (out, in)."""
    match isa:
        case "scalar":
            return pack_conv2d(isa, weights, numbers, bias, multiplier)
        case "dsp":
            codes = _paired(_codes(_rows(weights, 4), numbers)).reshape(len(weights), -1, 2)
            four = _pad(codes, 0, 4).reshape(-1, 4, *codes.shape[1:])  # block, output, quad, pair
            return _between(four.transpose(0, 2, 3, 1), bias, multiplier, channels=4)
        case "mve":
            return _vectors(weights, numbers, bias, multiplier, channels=8)
    raise ValueError(f"no packing for w4_linear/{isa}")


def _vectors(weights: Weights, numbers: Weights, bias: Words, multiplier: Words, channels: int) -> Words:
    """Blocks of ``channels`` outputs: for each 16 values of their rows and each two of them a vector."""
    codes = _codes(_pad(_rows(weights, 16), 0, channels), numbers)
    pairs = codes.reshape(-1, channels // 2, 2, codes.shape[1] // 16, 16)  # block, two outputs, output, step, value
    return _between((pairs[:, :, 0] | pairs[:, :, 1] << 4).swapaxes(1, 2), bias, multiplier, channels)


def _between(blocks: np.ndarray, bias: Words, multiplier: Words, channels: int) -> Words:
    """Blocks of bytes (first axis), each between the biases and the multipliers of its ``channels`` outputs."""
    words = np.ascontiguousarray(blocks).reshape(len(blocks), -1).view("<i4")
    before, behind = (_pad(values, 0, channels).reshape(-1, channels) for values in (bias, multiplier))
    return np.concatenate([before, words, behind], axis=1).reshape(-1)


def _codes(weights: Weights, numbers: Weights) -> Codes:
    """The code (uint8) of each weight.

    Raises ValueError where a weight is none of the numbers.
    """
    found = np.full(256, -1)
    found[numbers[::-1].astype(np.int64) + 128] = np.arange(15, -1, -1)
    codes = found[weights.astype(np.int64) + 128]
    if (codes < 0).any():
        raise ValueError(f"{int((codes < 0).sum())} weights are not among {numbers.tolist()}")
    return codes.astype(np.uint8)


def _bytes(codes: Codes) -> Codes:
    """Codes two a byte, the first in the low half."""
    return codes[:, ::2] | codes[:, 1::2] << _HALF


def _paired(codes: Codes) -> Codes:
    """For each 4 codes of a row a byte of (k0,k2) and one of (k1,k3)."""
    quads = codes.reshape(len(codes), -1, 4)
    return (quads[..., :2] | quads[..., 2:] << _HALF).reshape(len(codes), -1)
