"""Random cases of layers of signs; channels are seldom a multiple of 32."""

from __future__ import annotations

import numpy as np

from edgeopt.kernels.mcu import Kernel, binary, overlap, packing, reference

from . import bench, fuzz

CHANNELS = (1, 3, 20, 32, 33, 64, 70, 96)


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    if rng.random() < 0.2:  # extremes: sums as large as they come
        return np.full(shape, rng.choice([-1, 1]), np.int8)
    return rng.choice(np.array([-1, 1], np.int8), shape)


def _end(rng: np.random.Generator, outputs: int, terms: int, as_bytes: bool) -> binary.End:
    spread = np.sqrt(terms)
    if as_bytes:
        scale = rng.uniform(0.01, 2.0, outputs)
        bias = rng.normal(size=outputs) * scale * spread
        low, high = (-128, 127) if rng.random() < 0.7 else sorted(rng.integers(-128, 128, 2).tolist())
        clamp = reference.Clamp(int(rng.integers(-128, 128)), low, high)
        return binary.Requant.of(scale, bias, float(scale.mean() * spread / 50), clamp)
    least = np.round(rng.normal(size=outputs) * spread)
    never, always = rng.random(outputs) < 0.05, rng.random(outputs) < 0.05
    least[never], least[always] = terms + 1, -terms
    return binary.Thresholds(least.astype(np.int32))


def conv2d(rng: np.random.Generator, isa: str, as_bytes: bool = False) -> fuzz.Expected:
    kernel = tuple(rng.choice([1, 1, 2, 3, 3, 4, 5], 2).tolist())
    win = fuzz.window(rng, kernel, tuple(rng.integers(1, 4, 2).tolist()))
    in_c, out_c = int(rng.choice(CHANNELS)), int(rng.choice([1, 2, 5, 10, 32, 35, 64]))
    x = binary.pack(signs(rng, *fuzz.map_size(rng, win), in_c))
    weights = signs(rng, out_c, *kernel, in_c)
    end = _end(rng, out_c, weights[0].size, as_bytes)
    sums = binary.sums(x, weights, win)
    y = end(sums)
    clamp = end.clamp if isinstance(end, binary.Requant) else reference.Clamp(0)
    geometry = np.empty((*x.shape[:2], in_c)), np.empty(sums.shape)
    case = bench.Case(
        Kernel("b1", "conv2d", isa), x.view(np.int8), y.nbytes, binary.pack_conv2d(isa, weights, end), n=int(as_bytes),
        window=fuzz.c_window(win, *geometry, 0, clamp), scratch_bytes=binary.conv2d_scratch(isa, win, in_c, out_c),
    )  # fmt: skip
    return case, y.reshape(-1).view(np.int8)


def sign(rng: np.random.Generator, isa: str) -> fuzz.Expected:
    pixels, channels = int(rng.integers(1, 20)), int(rng.choice(CHANNELS))
    x = fuzz.values(rng, pixels, channels)
    least = rng.choice([-128, -127, 0, 1, 127, 128, *rng.integers(-128, 129, 4)], channels).astype(np.int16)
    thresholds = binary.ByteThresholds(least)
    y = thresholds(x)
    case = bench.Case(
        Kernel("b1", "sign", isa), x, y.nbytes, thresholds.pack(), n=channels, rows=pixels,
        distance=0 if channels >= 4 and rng.random() < 0.5 else None,
    )  # fmt: skip
    return case, y.reshape(-1).view(np.int8)


def max_pool2d(rng: np.random.Generator, isa: str) -> fuzz.Expected:
    kernel = tuple(rng.integers(1, 4, 2).tolist())
    win = fuzz.window(rng, kernel, tuple(rng.integers(1, 4, 2).tolist()))
    channels = int(rng.choice(CHANNELS))
    x = binary.pack(signs(rng, *fuzz.map_size(rng, win), channels))
    y = binary.max_pool2d(x, win)
    geometry = np.empty((*x.shape[:2], channels)), np.empty((*y.shape[:2], channels))
    case = bench.Case(
        Kernel("b1", "max_pool2d", isa), x.view(np.int8), y.nbytes,
        window=fuzz.c_window(win, *geometry, 0, reference.Clamp(0)),
    )  # fmt: skip
    return case, y.reshape(-1).view(np.int8)


def beside_int8(
    size: int, kernel: int, inputs: int, outputs: int, isa: str, as_bytes: bool = False
) -> tuple[bench.Case, bench.Case]:
    """A convolution of signs that keeps the size of its map, and the same one in int8 with its fastest weights."""
    rng, window = np.random.default_rng(0), reference.Window((kernel, kernel), (1, 1), (kernel // 2,) * 4)
    weights, x = signs(rng, outputs, kernel, kernel, inputs), signs(rng, size, size, inputs)
    zeros, ones = np.zeros(outputs, np.int32), np.full(outputs, 2**20, np.int32)
    clamp = reference.Clamp(0)
    end: binary.End = binary.Requant(zeros, ones, clamp) if as_bytes else binary.Thresholds(zeros)
    bits, y = binary.pack(x), np.empty((size, size, outputs), np.int8)
    geometry = fuzz.c_window(window, x, y, 0, clamp)
    binary_case = bench.Case(
        Kernel("b1", "conv2d", isa), bits.view(np.int8), end(binary.sums(bits, weights, window)).nbytes,
        binary.pack_conv2d(isa, weights, end), n=int(as_bytes), window=geometry,
        scratch_bytes=binary.conv2d_scratch(isa, window, inputs, outputs),
    )  # fmt: skip
    wide = {"dsp": "dsp16"}.get(isa, isa)
    int8_case = bench.Case(
        Kernel("s8", "conv2d", wide), x, y.size, packing.pack_conv2d(wide, weights, zeros, ones), window=geometry,
        scratch_bytes=overlap.conv2d_scratch(wide, window, x.shape, y.shape, False),
    )  # fmt: skip
    return binary_case, int8_case
