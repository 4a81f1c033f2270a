"""The kernels' arithmetic in numpy: what scalar C must return, for programs and tests on the host.

Activations are int8 of shape (H, W, C), weights int8, biases and multipliers int32. ``bias`` is the layer's own;
the correction ``-in_zero * sum(weights)`` is not in it (padding counts as ``in_zero``, so that it cancels out).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Reals = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Window:
    """A window sliding over a map: kernel, stride, and padding (top, left, bottom, right)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for an input of ``height`` x ``width``."""
        top, left, bottom, right = self.padding
        return (
            (height + top + bottom - self.kernel[0]) // self.stride[0] + 1,
            (width + left + right - self.kernel[1]) // self.stride[1] + 1,
        )

    def patches(self, x: NDArray[Any], fill: int) -> NDArray[Any]:
        """(H, W, C) -> (out H, out W, kernel H, kernel W, C)."""
        top, left, bottom, right = self.padding
        padded = np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
        views = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(0, 1))
        return views[:: self.stride[0], :: self.stride[1]].transpose(0, 1, 3, 4, 2)


def _int8(values: NDArray[Any], low: int, high: int) -> Int8:
    return np.asarray(np.clip(values, low, high), np.int8)


@dataclass(frozen=True)
class Clamp:
    """Where an output byte may lie: zero point and range."""

    zero: int
    low: int = -128
    high: int = 127

    def __call__(self, acc: NDArray[Any], multiplier: NDArray[Any] | int) -> Int8:
        """Scale accumulators by ``multiplier / 2**32``, rounded half up, and saturate."""
        scaled = (acc.astype(np.int64) * np.int64(multiplier) + 2**31 >> 32) + self.zero
        return _int8(scaled, self.low, self.high)


def multiplier(scale: NDArray[Any] | float) -> NDArray[np.int64]:
    """The factor ``round(scale * 2**32)`` of a real scale in [0, 0.5)."""
    fixed = np.round(np.asarray(scale, np.float64) * 2.0**32).astype(np.int64)
    if (fixed < 0).any() or (fixed >= 2**31).any():
        raise ValueError(f"scale {np.max(scale):g} is outside [0, 0.5)")
    return fixed


def conv2d(x: Int8, weights: Int8, bias: Int32, multiplier: Int32, window: Window, in_zero: int, clamp: Clamp) -> Int8:
    """Convolution; weights (out, kernel H, kernel W, in)."""
    patches = window.patches(x, in_zero).astype(np.float64) - in_zero
    flat = patches.reshape(*patches.shape[:2], -1) @ weights.reshape(len(weights), -1).T.astype(np.float64)
    return clamp(flat.astype(np.int64) + bias, multiplier)


def depthwise_conv2d(
    x: Int8, weights: Int8, bias: Int32, multiplier: Int32, window: Window, in_zero: int, clamp: Clamp
) -> Int8:
    """One filter a channel; weights (channels, kernel H, kernel W)."""
    patches = window.patches(x, in_zero).astype(np.int64) - in_zero
    return clamp(np.einsum("abijc,cij->abc", patches, weights.astype(np.int64)) + bias, multiplier)


def linear(x: Int8, weights: Int8, bias: Int32, multiplier: Int32, in_zero: int, clamp: Clamp) -> Int8:
    """Fully connected layer; x (in,), weights (out, in)."""
    return clamp(weights.astype(np.int64) @ (x.astype(np.int64) - in_zero) + bias, multiplier)


@dataclass(frozen=True)
class AddFactors:
    """An elementwise sum in fixed point: ``(a * mul_a + b * mul_b + offset) >> shift``."""

    mul_a: int
    mul_b: int
    offset: int
    shift: int

    @classmethod
    def of(cls, scale_a: float, zero_a: int, scale_b: float, zero_b: int, scale_y: float, zero_y: int) -> AddFactors:
        """The factors for given scales and zero points: the larger multiplier gets 15 bits."""
        largest = max(scale_a, scale_b) / scale_y
        shift = min(30, max(1, 14 - int(np.floor(np.log2(largest)))))
        while round(largest * 2.0**shift) > 32767:
            shift -= 1
        mul_a, mul_b = (round(scale / scale_y * 2.0**shift) for scale in (scale_a, scale_b))
        if shift < 1 or max(mul_a, mul_b) * 256 * 2 + (abs(zero_y) << shift) >= 2**31:
            raise ValueError(f"scales {scale_a:g} and {scale_b:g} cannot be added at scale {scale_y:g}")
        offset = (zero_y << shift) + (1 << (shift - 1)) - mul_a * zero_a - mul_b * zero_b
        return cls(mul_a, mul_b, offset, shift)


def add(a: Int8, b: Int8, factors: AddFactors, low: int = -128, high: int = 127) -> Int8:
    """Elementwise sum."""
    total = a.astype(np.int64) * factors.mul_a + b.astype(np.int64) * factors.mul_b + factors.offset
    return _int8(total >> factors.shift, low, high)


def avg_pool2d(x: Int8, multiplier: int, window: Window, in_zero: int, clamp: Clamp) -> Int8:
    """Mean over windows without padding; ``multiplier`` is that of 16 times the sum."""
    patches = window.patches(x, in_zero).astype(np.int64) - in_zero
    return clamp(16 * patches.sum(axis=(2, 3)), multiplier)


def max_pool2d(x: Int8, window: Window, low: int = -128, high: int = 127) -> Int8:
    """Maximum over windows; padding never wins."""
    return _int8(window.patches(x, -128).max(axis=(2, 3)), low, high)


def exp_table(scale: float) -> NDArray[np.uint16]:
    """``round(65535 * exp(-d * scale))`` for d = 0..255."""
    entries: NDArray[np.float64] = np.round(65535 * np.exp(-np.arange(256) * scale))
    return entries.astype(np.uint16)


def softmax(x: Int8, table: NDArray[np.uint16]) -> Int8:
    """Softmax over the last axis; output scale 1/256, zero point -128."""
    wide = x.astype(np.int64)
    e = table[wide.max(axis=-1, keepdims=True) - wide].astype(np.int64)
    total = e.sum(axis=-1, keepdims=True)
    return _int8((e * 256 + total // 2) // total - 128, -128, 127)


def table(x: Int8, entries: Int8) -> Int8:
    """Look every value up; entry 0 is that of -128."""
    return entries[x.astype(np.int64) + 128]


def matmul(a: Int8, b: Int8, multiplier: int, a_zero: int, clamp: Clamp) -> Int8:
    """Products of activations; a (batch, rows, depth), b (batch, depth, columns) of zero point 0."""
    products = (a.astype(np.int64) - a_zero).astype(np.float64) @ b.astype(np.float64)
    return clamp(products.astype(np.int64), multiplier)


@dataclass(frozen=True)
class NormFactors:
    """A norm in fixed point: what is added to ``n * sum(q^2) - sum(q)^2``, and 2^16 times scale and shift over s_y.

    ``multiplier`` and ``bias`` are int32, of one element or one a channel; only a ``centered`` norm takes the mean
    away.
    """

    epsilon: int
    centered: bool
    multiplier: Int32
    bias: Int32

    @classmethod
    def of(
        cls,
        width: int,
        epsilon: float,
        centered: bool,
        scale: NDArray[Any],
        shift: NDArray[Any],
        scale_x: float,
        scale_y: float,
    ) -> NormFactors:
        """The factors of a norm over ``width`` values."""
        fixed = [np.round(np.asarray(v, np.float64).reshape(-1) / scale_y * 65536) for v in (scale, shift)]
        added = round(width * width * epsilon / scale_x**2)
        if max(np.abs(v).max() for v in fixed) >= 2**31 or added >= 2**46:
            raise ValueError(f"a norm from scale {scale_x:g} to {scale_y:g} leaves the range of its integers")
        return cls(added, centered, fixed[0].astype(np.int32), fixed[1].astype(np.int32))


def norm(x: Int8, factors: NormFactors, in_zero: int, clamp: Clamp) -> Int8:
    """Layer norm, or RMS norm where it is not centered, over the last axis of at most 32,768 values."""
    q, n = x.astype(np.int64) - in_zero, x.shape[-1]
    total = q.sum(axis=-1, keepdims=True) * factors.centered
    spread = np.maximum(n * (q * q).sum(axis=-1, keepdims=True) - total * total + factors.epsilon, 1)
    inverse, shift = _inverse_root(spread)
    unit = ((n * q - total) * inverse + (1 << (15 - shift))) >> (16 - shift)  # 2^16 / standard deviation
    scaled = (unit * factors.multiplier.astype(np.int64) + (factors.bias.astype(np.int64) << 16) + 2**31) >> 32
    return _int8(scaled + clamp.zero, clamp.low, clamp.high)


def _inverse_root(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``i`` and ``s`` with ``i * 2^(s - 32)`` close to ``1 / sqrt(value)``: a root of 31 or 32 bits, a division."""
    bits = np.vectorize(int.bit_length, otypes=[np.int64])(values.astype(object))
    shift = (32 - bits) // 2
    scaled = np.where(shift >= 0, values << np.maximum(2 * shift, 0), values >> np.maximum(-2 * shift, 0))
    root = np.vectorize(math.isqrt, otypes=[np.int64])(scaled.astype(object))
    return (2**32 - 1) // root, shift
