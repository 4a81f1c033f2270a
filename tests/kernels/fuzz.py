"""Random cases over shapes, strides, paddings, zero points and scales, each with the bytes that numpy expects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgeopt.kernels.mcu import Kernel, overlap, packing, packing_codes, reference

from . import bench


@dataclass(frozen=True)
class Layer:
    """Random parameters of one weighted layer."""

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    in_zero: int
    clamp: reference.Clamp

    def folded_bias(self) -> np.ndarray:
        total = self.weights.reshape(len(self.weights), -1).astype(np.int64).sum(1)
        found: np.ndarray = (self.bias - self.in_zero * total).astype(np.int32)
        return found


def layer(rng: np.random.Generator, shape: tuple[int, ...], depth: int) -> Layer:
    """Weights of ``shape`` and scales under which outputs fill, and at times leave, the int8 range."""
    full = rng.random() < 0.3  # extremes: saturating accumulators
    weights = rng.choice([-127, 127], shape) if full else rng.integers(-127, 128, shape)
    scale = rng.uniform(0.2, 3.0, shape[0]) * 127 / (74 * 74 * np.sqrt(depth))
    low, high = (-128, 127) if rng.random() < 0.7 else sorted(rng.integers(-128, 128, 2).tolist())
    return Layer(
        weights.astype(np.int8),
        rng.integers(-(2**14), 2**14, shape[0]).astype(np.int32),
        reference.multiplier(np.minimum(scale, 0.49)).astype(np.int32),
        int(rng.integers(-128, 128)),
        reference.Clamp(int(rng.integers(-128, 128)), low, high),
    )


def in_powers(p: Layer) -> Layer:
    """The layer with multipliers that are powers of two."""
    return replace(p, multiplier=2 ** np.maximum(2, np.log2(p.multiplier).astype(np.int32)))


def _packed(isa: str, p: Layer, shifts: bool, pack: Callable[..., np.ndarray]) -> tuple[str, np.ndarray]:
    """Weights' type and constant block of a layer, requantized by shifts or multipliers."""
    if shifts:
        return "s8pow2", packing.pack_shifts(p.weights, p.folded_bias(), p.multiplier)
    return "s8", pack(isa, p.weights, p.folded_bias(), p.multiplier)


def window(rng: np.random.Generator, kernel: tuple[int, int], stride: tuple[int, int]) -> reference.Window:
    top, left, bottom, right = (int(rng.integers(0, k)) for k in (*kernel, *kernel))
    return reference.Window(kernel, stride, (top, left, bottom, right))


def c_window(win: reference.Window, x: np.ndarray, y: np.ndarray, in_zero: int, clamp: reference.Clamp) -> bench.Window:
    return bench.Window(
        *x.shape, *y.shape, *win.kernel, *win.stride, win.padding[0], win.padding[1],
        in_zero, clamp.zero, clamp.low, clamp.high,
    )  # fmt: skip


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, shape).astype(np.int8)


def factors(rng: np.random.Generator) -> reference.AddFactors:
    scale_a, scale_b, scale_y = np.exp(rng.uniform(-3, 3, 3))
    zeros = rng.integers(-128, 128, 3).tolist()
    scale_y = max(scale_y, scale_a / 8, scale_b / 8)
    return reference.AddFactors.of(scale_a, zeros[0], scale_b, zeros[1], scale_y, zeros[2])


def c_add(f: reference.AddFactors, low: int = -128, high: int = 127) -> bench.Add:
    return bench.Add(f.mul_a, f.mul_b, f.offset, f.shift, low, high)


def map_size(rng: np.random.Generator, win: reference.Window) -> tuple[int, int]:
    """Height and width of an input that the window, with its padding, fits into."""
    least = (max(1, k - a - b) for k, a, b in zip(win.kernel, win.padding[:2], win.padding[2:], strict=True))
    height, width = (size + int(rng.integers(0, 9)) for size in least)
    return height, width


Expected = tuple[bench.Case, np.ndarray]


def conv2d(
    rng: np.random.Generator, isa: str, residual: bool = False, in_place: bool = False, shifts: bool = False
) -> Expected:
    kernel = tuple(rng.choice([1, 1, 2, 3, 3, 5], 2).tolist())
    win = window(rng, kernel, tuple(rng.integers(1, 4, 2).tolist()))
    in_c, out_c = int(rng.choice([1, 2, 3, 4, 7, 8, 16, 20, 33])), int(rng.integers(1, 20))
    p = layer(rng, (out_c, *kernel, in_c), in_c * kernel[0] * kernel[1])
    p = in_powers(p) if shifts else p
    dtype, packed = _packed(isa, p, shifts, packing.pack_conv2d)
    x = values(rng, *map_size(rng, win), in_c)
    y = reference.conv2d(x, p.weights, p.bias, p.multiplier, win, p.in_zero, p.clamp)
    case = bench.Case(
        Kernel(dtype, "conv2d", isa), x, y.size, packed,
        window=c_window(win, x, y, p.in_zero, p.clamp),
        scratch_bytes=overlap.conv2d_scratch(isa, win, x.shape, y.shape, residual),
    )  # fmt: skip
    if residual:
        other, f = values(rng, *y.shape), factors(rng)
        case, y = replace(case, y=other, add=c_add(f)), reference.add(y, other, f)
    elif in_place:
        case = replace(case, distance=overlap.conv2d_distance(isa, win, x.shape, y.shape))
    return case, y.reshape(-1)


def depthwise_conv2d(rng: np.random.Generator, isa: str, in_place: bool = False, shifts: bool = False) -> Expected:
    kernel = (3, 3) if isa != "scalar" and rng.random() < 0.9 else tuple(rng.integers(1, 6, 2).tolist())
    stride = int(rng.integers(1, 3))
    win = window(rng, kernel, (stride, stride))
    channels = int(rng.choice([4, 8, 12, 20] if isa == "dsp" else [1, 3, 4, 8, 16, 20, 37]))
    p = layer(rng, (channels, *kernel), 9)
    p = in_powers(p) if shifts else p
    x = values(rng, *map_size(rng, win), channels)
    y = reference.depthwise_conv2d(x, p.weights, p.bias, p.multiplier, win, p.in_zero, p.clamp)
    if not overlap.supports_depthwise(isa, win, channels):
        return depthwise_conv2d(rng, isa, in_place, shifts)
    dtype, packed = _packed(isa, p, shifts, packing.pack_depthwise_conv2d)
    case = bench.Case(
        Kernel(dtype, "depthwise_conv2d", isa), x, y.size, packed,
        window=c_window(win, x, y, p.in_zero, p.clamp),
        scratch_bytes=overlap.depthwise_scratch(isa, win, x.shape, y.shape),
        distance=overlap.depthwise_distance(isa, win, x.shape, y.shape) if in_place else None,
    )  # fmt: skip
    return case, y.reshape(-1)


def linear(rng: np.random.Generator, isa: str, shifts: bool = False) -> Expected:
    ins, outs = int(rng.integers(1, 200)), int(rng.integers(1, 40))
    p = layer(rng, (outs, ins), ins)
    p = in_powers(p) if shifts else p
    dtype, packed = _packed(isa, p, shifts, packing.pack_linear)
    x = values(rng, ins)
    y = reference.linear(x, p.weights, p.bias, p.multiplier, p.in_zero, p.clamp)
    case = bench.Case(
        Kernel(dtype, "linear", isa), x, y.size, packed,
        linear=bench.Linear(ins, outs, p.clamp.zero, p.clamp.low, p.clamp.high),
    )  # fmt: skip
    return case, y


def largest_sum(dtype: str, sign: int) -> Expected:
    """A fully connected layer whose sum is the largest that int32 has to hold."""
    ins, numbers = 32_768, NUMBERS[2]
    weights = np.full((2, ins), -127 * sign, np.int8)
    p = Layer(weights, np.full(2, sign * 2**30, np.int32), np.full(2, 2**12, np.int32), 127, reference.Clamp(0))
    bias, x = p.folded_bias(), np.full(ins, -128, np.int8)
    assert 2**31 - 2**24 < packing.largest_sum(weights, bias.astype(np.int64)) < 2**31
    table = packing_codes.pack_table("scalar", numbers) if dtype == "w4" else np.zeros(0, np.int32)
    if dtype == "w4":
        packed = packing_codes.pack_linear("scalar", weights, numbers, bias, p.multiplier)
    else:
        packed = _packed("scalar", p, dtype == "s8pow2", packing.pack_linear)[1]
    case = bench.Case(
        Kernel(dtype, "linear", "scalar"), x, 2, packed, table=table, linear=bench.Linear(ins, 2, 0, -128, 127)
    )
    return case, reference.linear(x, weights, p.bias, p.multiplier, p.in_zero, p.clamp)


NUMBERS = (
    np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8),  # twice E2M1
    np.array([*range(8), *range(-8, 0)], np.int8),  # INT4
    np.array([0, 127, 1, 2, 5, 9, 23, 64, -3, -1, -127, -2, -7, -11, -50, -90], np.int8),
)


def coded_layer(rng: np.random.Generator, shape: tuple[int, ...], depth: int) -> tuple[Layer, np.ndarray]:
    """A layer whose weights are sixteen numbers, and these."""
    numbers = NUMBERS[rng.integers(len(NUMBERS))]
    p = layer(rng, shape, depth)
    largest = int(np.abs(numbers.astype(np.int64)).max())
    multiplier = np.minimum(p.multiplier.astype(np.int64) * 127 // largest, 2**31 - 1)
    return replace(p, weights=rng.choice(numbers, shape), multiplier=multiplier.astype(np.int32)), numbers


def coded_conv2d(rng: np.random.Generator, isa: str, residual: bool = False, in_place: bool = False) -> Expected:
    kernel = tuple(rng.choice([1, 1, 2, 3, 3, 5], 2).tolist())
    win = window(rng, kernel, tuple(rng.integers(1, 4, 2).tolist()))
    in_c, out_c = int(rng.choice([1, 2, 3, 4, 7, 8, 16, 20, 33])), int(rng.integers(1, 20))
    p, numbers = coded_layer(rng, (out_c, *kernel, in_c), in_c * kernel[0] * kernel[1])
    x = values(rng, *map_size(rng, win), in_c)
    y = reference.conv2d(x, p.weights, p.bias, p.multiplier, win, p.in_zero, p.clamp)
    case = bench.Case(
        Kernel("w4", "conv2d", isa), x, y.size,
        packing_codes.pack_conv2d(isa, p.weights, numbers, p.folded_bias(), p.multiplier),
        table=packing_codes.pack_table(isa, numbers),
        window=c_window(win, x, y, p.in_zero, p.clamp),
        scratch_bytes=overlap.coded_conv2d_scratch(isa, win, x.shape, y.shape, residual),
    )  # fmt: skip
    if residual:
        other, f = values(rng, *y.shape), factors(rng)
        case, y = replace(case, y=other, add=c_add(f)), reference.add(y, other, f)
    elif in_place:
        case = replace(case, distance=overlap.coded_conv2d_distance(isa, win, x.shape, y.shape))
    return case, y.reshape(-1)


def coded_linear(rng: np.random.Generator, isa: str) -> Expected:
    ins, outs = int(rng.integers(1, 200)), int(rng.integers(1, 40))
    p, numbers = coded_layer(rng, (outs, ins), ins)
    x = values(rng, ins)
    y = reference.linear(x, p.weights, p.bias, p.multiplier, p.in_zero, p.clamp)
    case = bench.Case(
        Kernel("w4", "linear", isa), x, y.size,
        packing_codes.pack_linear(isa, p.weights, numbers, p.folded_bias(), p.multiplier),
        table=packing_codes.pack_table(isa, numbers),
        linear=bench.Linear(ins, outs, p.clamp.zero, p.clamp.low, p.clamp.high),
    )  # fmt: skip
    return case, y


def add(rng: np.random.Generator, isa: str) -> Expected:
    n, f = int(rng.integers(1, 70)), factors(rng)
    low, high = (-128, 127) if rng.random() < 0.5 else sorted(rng.integers(-128, 128, 2).tolist())
    a, b = values(rng, n), values(rng, n)
    case = bench.Case(Kernel("s8", "add", isa), a, n, b=b, n=n, add=c_add(f, low, high),
                      distance=0 if rng.random() < 0.5 else None)  # fmt: skip
    return case, reference.add(a, b, f, low, high)


def avg_pool2d(rng: np.random.Generator, isa: str) -> Expected:
    win = reference.Window(tuple(rng.integers(1, 6, 2).tolist()), tuple(rng.integers(1, 4, 2).tolist()))
    if rng.random() < 0.2:
        win = reference.Window((19, 21), (1, 1))  # more positions than int16 sums hold
    x = values(rng, *map_size(rng, win), int(rng.integers(1, 40)))
    if rng.random() < 0.3:
        x = np.full_like(x, rng.choice([-128, 127]))
    clamp = reference.Clamp(int(rng.integers(-128, 128)), -100, 101)
    m = int(reference.multiplier(min(0.49, rng.uniform(0.2, 9.0) / (16 * win.kernel[0] * win.kernel[1]))))
    in_zero = int(rng.integers(-128, 128))
    y = reference.avg_pool2d(x, m, win, in_zero, clamp)
    packed = np.array([-in_zero * win.kernel[0] * win.kernel[1], m], np.int32)
    case = bench.Case(Kernel("s8", "avg_pool2d", isa), x, y.size, packed, window=c_window(win, x, y, in_zero, clamp))
    return case, y.reshape(-1)


def max_pool2d(rng: np.random.Generator, isa: str) -> Expected:
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    win = window(rng, kernel, tuple(rng.integers(1, 4, 2).tolist()))
    x = values(rng, *map_size(rng, win), int(rng.integers(1, 12)))
    clamp = reference.Clamp(0, *((-128, 127) if rng.random() < 0.5 else (-20, 90)))
    y = reference.max_pool2d(x, win, clamp.low, clamp.high)
    case = bench.Case(Kernel("s8", "max_pool2d", isa), x, y.size, window=c_window(win, x, y, 0, clamp))
    return case, y.reshape(-1)


def softmax(rng: np.random.Generator, isa: str) -> Expected:
    x = values(rng, int(rng.integers(1, 5)), int(rng.integers(1, 30)))
    table = reference.exp_table(float(rng.choice([0.0, 0.01, 0.1, 1.0])))
    case = bench.Case(Kernel("s8", "softmax", isa), x, x.size, table.view(np.int32), rows=x.shape[0], n=x.shape[1],
                      distance=0 if rng.random() < 0.5 else None)  # fmt: skip
    return case, reference.softmax(x, table).reshape(-1)


def table(rng: np.random.Generator, isa: str) -> Expected:
    x, entries = values(rng, int(rng.integers(1, 50))), values(rng, 256)
    packed = entries.view(np.int32)
    case = bench.Case(
        Kernel("s8", "table", isa), x, x.size, packed, n=x.size, distance=0 if rng.random() < 0.5 else None
    )
    return case, reference.table(x, entries)


def norm(rng: np.random.Generator, isa: str) -> Expected:
    rows, width = int(rng.integers(1, 6)), int(rng.choice([1, 2, 3, 7, 16, 48, 192, 1000]))
    x = values(rng, rows, width)
    if rng.random() < 0.3:
        x = np.full_like(x, rng.choice([-128, 0, 127])) + rng.integers(0, 2, x.shape).astype(np.int8) * np.int8(-1)
    channels = width if rng.random() < 0.5 else 1
    scale, shift = rng.normal(size=channels) * 2, rng.normal(size=channels) * int(rng.integers(2))
    scale_x, scale_y = np.exp(rng.uniform(-6, 0, 2))
    factors = reference.NormFactors.of(width, 1e-5, bool(rng.integers(2)), scale, shift, scale_x, scale_y)
    clamp = reference.Clamp(int(rng.integers(-128, 128)), *((-128, 127) if rng.random() < 0.7 else (-50, 60)))
    in_zero = int(rng.integers(-128, 128))
    c_norm = bench.Norm(
        factors.epsilon, width, factors.centered, channels > 1, in_zero, clamp.zero, clamp.low, clamp.high
    )
    packed = np.stack([factors.multiplier, factors.bias], axis=1).reshape(-1)
    case = bench.Case(Kernel("s8", "norm", isa), x, x.size, packed, norm=c_norm, rows=rows,
                      distance=0 if rng.random() < 0.5 else None)  # fmt: skip
    return case, reference.norm(x, factors, in_zero, clamp).reshape(-1)


def _heads(rng: np.random.Generator, heads: int, positions: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A tensor of positions with their heads side by side, and a view of it head by head."""
    x = values(rng, positions, heads, size)
    return x, x.transpose(1, 0, 2)


def _scores(rng: np.random.Generator, q: np.ndarray, k: np.ndarray, isa: str) -> tuple[bench.MatMul, np.ndarray]:
    """Products of queries and keys (heads, positions, size) that lie side by side, into rows of scores."""
    heads, rows, size = q.shape
    columns, width = k.shape[1], heads * size
    low, high = (-128, 127) if rng.random() < 0.7 else (-90, 80)
    clamp = reference.Clamp(int(rng.integers(-128, 128)), low, high)
    a_zero = int(rng.integers(-128, 128))
    m = int(reference.multiplier(min(0.49, rng.uniform(0.2, 3.0) / (74 * np.sqrt(size)))))
    c_scores = bench.MatMul(
        heads, rows, size, columns, size, width, size, 1, width, rows * columns, columns, m,
        a_zero, clamp.zero, clamp.low, clamp.high,
    )  # fmt: skip
    return c_scores, reference.matmul(q, k.swapaxes(1, 2), m, a_zero, clamp)


def _sizes(rng: np.random.Generator) -> tuple[int, int, int]:
    return int(rng.integers(1, 4)), int(rng.choice([1, 2, 5, 16, 17, 33])), int(rng.choice([1, 3, 4, 12, 16, 21]))


def matmul(rng: np.random.Generator, isa: str) -> Expected:
    heads, positions, size = _sizes(rng)
    (left, q), (right, k) = (_heads(rng, heads, n, size) for n in (positions, int(rng.integers(1, 30))))
    c_scores, scores = _scores(rng, q, k, isa)
    case = bench.Case(Kernel("s8", "matmul", isa), left, scores.size, b=right, scores=c_scores,
                      scratch_bytes=overlap.matmul_scratch(isa, size, k.shape[1]))  # fmt: skip
    return case, scores.reshape(-1)


def attention(rng: np.random.Generator, isa: str) -> Expected:
    heads, positions, size = _sizes(rng)
    (left, q), (middle, k), (right, v) = (_heads(rng, heads, positions, size) for _ in range(3))
    c_scores, scores = _scores(rng, q, k, isa)
    exp_table = reference.exp_table(float(rng.choice([0.0, 0.03, 0.3])))
    clamp = reference.Clamp(int(rng.integers(-128, 128)))
    m = int(reference.multiplier(rng.uniform(0.2, 1.5) / 256))
    width = heads * size
    c_mix = bench.MatMul(
        heads, positions, positions, size, 0, positions, size, width, 1, size, width, m, -128, clamp.zero, -128, 127
    )
    mixed = reference.matmul(reference.softmax(scores, exp_table), v, m, -128, clamp)
    case = bench.Case(
        Kernel("s8", "attention", isa), left, left.size, exp_table.view(np.int32), b=middle, c=right, scores=c_scores,
        mix=c_mix, scratch_bytes=overlap.attention_scratch(isa, size, positions, size),
        distance=0 if rng.random() < 0.5 else None,
    )  # fmt: skip
    return case, mixed.transpose(1, 0, 2).reshape(-1)


def copy(rng: np.random.Generator, isa: str) -> Expected:
    sizes = tuple(rng.integers(1, 6, 4).tolist())
    x, order = values(rng, *sizes), rng.permutation(4)
    steps = np.array([sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1])
    y = x.transpose(order)
    to = [int(np.prod(y.shape[i + 1 :])) for i in range(4)]
    c_copy = bench.Copy(y.shape, tuple(steps[order].tolist()), tuple(to))
    return bench.Case(Kernel("s8", "copy", isa), x, x.size, copy=c_copy), y.reshape(-1)
