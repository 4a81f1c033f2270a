"""Layers of signs for microcontrollers: their arithmetic in numpy, their constant blocks, what they ask of memory.

A map of signs is (H, W, words) uint32 as ``eo_words`` has it: a pixel's channels from the least bit of the first word
on, set for +1, clear behind the last channel. Weights of signs are (out, kernel H, kernel W, in) int8, +1 and -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeopt.kernels.mcu.packing import Words, _pad
from edgeopt.kernels.mcu.reference import Clamp, Int8, Int32, Window

Bits = NDArray[np.uint32]

LARGEST_SUM = 32767
"""The most signs that a sum may have."""


def words(channels: int) -> int:
    """Words of a pixel: ``eo_words``."""
    return -(-channels // 32)


def pack(signs: Int8) -> Bits:
    """(..., channels) of +1 and -1 -> (..., words)."""
    bits = _pad((signs > 0).astype(np.uint8), signs.ndim - 1, 32)
    return np.packbits(bits, axis=-1, bitorder="little").view("<u4")


def unpack(x: Bits, channels: int) -> Int8:
    """(..., words) -> (..., channels) of +1 and -1."""
    bits = np.unpackbits(np.ascontiguousarray(x).view(np.uint8), axis=-1, bitorder="little")
    return (2 * bits[..., :channels].astype(np.int8) - 1).astype(np.int8)


def sums(x: Bits, weights: Int8, window: Window) -> NDArray[np.int64]:
    """Sums of products of signs over the taps inside the map, (out H, out W, out)."""
    patches = window.patches(unpack(x, weights.shape[-1]), 0)
    flat = patches.reshape(*patches.shape[:2], -1).astype(np.float32)
    return (flat @ weights.reshape(len(weights), -1).T.astype(np.float32)).astype(np.int64)


@dataclass(frozen=True)
class Thresholds:
    """The sign of a sum: +1 where it is at least ``least`` (int32, one an output)."""

    least: Int32

    def __call__(self, sums: NDArray[np.int64]) -> Bits:
        """Signs of sums, packed."""
        return pack(np.where(sums >= self.least, 1, -1).astype(np.int8))

    def levels(self, terms: int) -> tuple[Words, ...]:
        """What 2 * count is taken from, for sums of so many terms."""
        return ((terms - self.least).astype(np.int32),)

    @property
    def record(self) -> tuple[Words, ...]:
        """As the specification reads it."""
        return (self.least,)


@dataclass(frozen=True)
class Requant:
    """A sum as int8: ``bias`` and ``multiplier`` int32, one an output, of 256 times the sum."""

    bias: Int32
    multiplier: Int32
    clamp: Clamp

    @classmethod
    def of(cls, scale: NDArray[np.float64], bias: NDArray[np.float64], scale_y: float, clamp: Clamp) -> Requant:
        """The factors of ``scale * sum + bias``; raises ValueError where they leave the range of their integers."""
        fixed = np.round(256 * bias / np.where(scale > 0, scale, 1)), np.round(2.0**24 * scale / scale_y)
        if (scale <= 0).any() or np.abs(fixed[0]).max() + 1024 * LARGEST_SUM >= 2**31 or fixed[1].max() >= 2**31:
            raise ValueError(f"scales {scale.min():g} to {scale.max():g} of sums of signs leave the integers' range")
        return cls(fixed[0].astype(np.int32), fixed[1].astype(np.int32), clamp)

    def __call__(self, sums: NDArray[np.int64]) -> Int8:
        """Sums in int8."""
        return self.clamp(256 * sums + self.bias, self.multiplier)

    def levels(self, terms: int) -> tuple[Words, ...]:
        """What 512 * count is taken from, for sums of so many terms, and the multipliers."""
        return (self.bias + np.int32(256 * terms)).astype(np.int32), self.multiplier

    @property
    def record(self) -> tuple[Words, ...]:
        """As the specification reads it."""
        return self.bias, self.multiplier


End = Thresholds | Requant
"""What becomes of sums."""


def pack_conv2d(isa: str, weights: Int8, end: End) -> Words:
    """Block of ``eo_b1_conv2d__<isa>``."""
    rows = pack(weights).reshape(len(weights), -1)
    if isa == "scalar":
        return np.concatenate([*(v[:, None] for v in end.record), rows.view(np.int32)], axis=1).reshape(-1)
    channels = {"dsp": 1, "mve": 4}[isa]
    rest = rows.shape[1] % 3
    a, b, c = np.moveaxis(rows[:, rest:].reshape(len(rows), -1, 3), 2, 0)
    triples = np.stack([a ^ b ^ c, a ^ b, a ^ c], axis=2).reshape(len(rows), -1)
    filters = _pad(np.concatenate([rows[:, :rest], triples], axis=1), 0, channels)
    order = filters.reshape(-1, channels, filters.shape[1]).swapaxes(1, 2)
    levels = [_pad(v, 0, channels) for v in end.levels(weights[0].size)]
    return np.concatenate([*levels, order.reshape(-1).view(np.int32)])


def conv2d_scratch(isa: str, window: Window, in_channels: int, out_channels: int) -> int:
    """Scratch bytes of ``eo_b1_conv2d__<isa>``."""
    if isa == "scalar":
        return 0
    patch = 4 * window.kernel[0] * window.kernel[1] * words(in_channels)
    return patch + 10 * (out_channels if isa == "dsp" else -(-out_channels // 4) * 4)


def max_pool2d(x: Bits, window: Window) -> Bits:
    """The largest of windows of signs."""
    largest: Bits = np.bitwise_or.reduce(window.patches(x, 0), axis=(2, 3))
    return largest


@dataclass(frozen=True)
class ByteThresholds:
    """The sign of an int8 value: +1 where it is at least ``least`` (one a channel, -128..128; 128 is never)."""

    least: NDArray[np.int16]

    def __call__(self, x: Int8) -> Bits:
        """Signs of (H, W, C), packed."""
        return pack(np.where(x >= self.least, 1, -1).astype(np.int8))

    def pack(self) -> Words:
        """Block of ``eo_b1_sign__<isa>``: of each 32 channels the mask, then the thresholds."""
        ever = _pad(self.least < 128, 0, 32)
        mask = np.packbits(ever.reshape(-1, 32), axis=-1, bitorder="little").view("<i4")
        least = _pad(np.minimum(self.least, 127).astype(np.int8), 0, 32).reshape(-1, 32).view("<i4")
        return np.concatenate([mask, least], axis=1).reshape(-1)


def sign_overread(isa: str, channels: int) -> int:
    """Bytes that ``eo_b1_sign__<isa>`` may read behind its input."""
    return {"dsp": -channels % 4, "mve": -channels % 16}.get(isa, 0)
