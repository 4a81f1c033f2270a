"""Cases in usual forms: complex numbers, norms, paddings, orders, integers beyond 2^31; what torch has no sample of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.operators.cases import Case, call, case

INF = float("inf")


def cases() -> Iterator[Case]:
    """Yield all of them; the same ones every time."""
    torch.manual_seed(0)
    for kind in (_complex, _norms, _paddings, _orders, _integers, _unsampled):
        yield from kind()


def _complex() -> Iterator[Case]:
    pairs, signal = torch.randn(3, 4, 2), torch.randn(2, 40)
    yield case("complex", "returned", lambda x: torch.complex(x[..., 0], x[..., 1]), pairs)
    yield case("complex", "product", lambda x: _pair(torch.complex(x[..., 0], x[..., 1]) ** 2), pairs)
    yield case("view_as_complex", "returned", torch.view_as_complex, pairs)
    yield case("view_as_complex", "magnitude", lambda x: torch.view_as_complex(x).abs(), pairs)
    yield case("view_as_complex", "product", lambda x: _pair(torch.view_as_complex(x) * 2j), pairs)
    window = torch.hann_window(16)
    spectrum = call(torch.stft, n_fft=16, hop_length=4, window=window, return_complex=True)
    yield case("stft", "returned", spectrum, signal)
    yield case("stft", "parts", lambda x: _pair(spectrum(x)), signal)
    yield case("stft", "magnitude", lambda x: spectrum(x).abs(), signal)
    for name in ("fft", "rfft", "ihfft"):
        transform = getattr(torch.fft, name)
        yield case(f"fft.{name}", "returned", transform, signal)
        yield case(f"fft.{name}", "parts", lambda x, t=transform: _pair(t(x)), signal)
    yield case("fft.irfft", "after rfft", lambda x: torch.fft.irfft(torch.fft.rfft(x) * 2), signal)
    yield case("fft.fft2", "parts", lambda x: _pair(torch.fft.fft2(x)), pairs)


def _pair(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values.real, values.imag


def _norms() -> Iterator[Case]:
    tokens, image = torch.randn(2, 5, 8), torch.randn(2, 6, 5, 4)
    for affine in (True, False):
        yield case("layer_norm", f"two axes {affine}", nn.LayerNorm((5, 8), elementwise_affine=affine), tokens)
        yield case("rms_norm", f"{affine}", nn.RMSNorm(8, elementwise_affine=affine), tokens)
        yield case("group_norm", f"3 {affine}", nn.GroupNorm(3, 6, affine=affine), image)
        yield case("instance_norm", f"{affine}", nn.InstanceNorm2d(6, affine=affine), image)
        yield case("batch_norm", f"{affine}", nn.BatchNorm2d(6, affine=affine), image)
    yield case("layer_norm", "wide epsilon", nn.LayerNorm(8, eps=0.1, bias=False), tokens)
    yield case("batch_norm", "batch's own", nn.BatchNorm2d(6, track_running_stats=False), image)
    yield case("local_response_norm", "4", nn.LocalResponseNorm(4), image)
    for p, axis in ((1.0, 1), (2.0, -1), (INF, 0)):
        yield case("normalize", f"{p} {axis}", call(F.normalize, p=p, dim=axis), tokens)


def _paddings() -> Iterator[Case]:
    image = torch.randn(2, 3, 5, 4)
    for mode, widths in product(("constant", "reflect", "replicate", "circular"), ((1, 2, 3, 0), (0, 1, 2, 2))):
        yield case("pad", f"{mode} {widths}", call(F.pad, pad=widths, mode=mode), image)
    yield case("pad", "negative", lambda x: F.pad(x, (-1, 2, 1, -2), value=0.5), image)
    yield case("pad", "all axes", lambda x: F.pad(x, (1, 0, 0, 1, 2, 0, 0, 2), value=-INF), image)
    for upscaled in (F.pixel_shuffle, F.pixel_unshuffle):
        yield case(upscaled.__name__, "2", lambda x, f=upscaled: f(x, 2), torch.randn(1, 4, 6, 4))
    yield case("unfold", "strided", lambda x: F.unfold(x, 3, dilation=1, padding=2, stride=2), image)
    yield case("fold", "overlapping", lambda x: F.fold(x, (5, 4), 2, padding=1), torch.randn(2, 12, 30))
    yield case("unfold_copy", "axis", lambda x: x.unfold(2, 3, 2), image)


def _orders() -> Iterator[Case]:
    table = torch.randn(4, 6)
    for largest, axis in product((True, False), (0, 1)):
        yield case("topk", f"{largest} {axis}", lambda x, b=largest, a=axis: x.topk(3, a, largest=b), table)
        yield case("sort", f"{largest} {axis}", lambda x, b=largest, a=axis: x.sort(a, descending=b), table)
    yield case("topk", "ties", lambda x: x.round().topk(3)[0], table)
    yield case("argsort", "stable", lambda x: x.round().argsort(stable=True, dim=1), table)
    yield case("roll", "two axes", lambda x: x.roll((1, -2), (0, 1)), table)
    yield case("tril", "offsets", lambda x: (x.tril(-1), x.triu(2), x.tril(1)), table)
    yield case("repeat_interleave", "3", lambda x: x.repeat_interleave(3, 1), table)
    yield case("bucketize", "right", lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0]), right=True), table)
    yield case("masked_fill", "infinite", lambda x: x.masked_fill(x > 0, -INF), table)
    yield case("where", "of numbers", lambda x: torch.where(x > 0, 1.5, -2.0), table)
    yield case("cummax", "values", lambda x: x.cummax(1)[0], table)
    yield case("one_hot", "7", lambda x: F.one_hot(x, 7), torch.tensor([[0, 6], [3, 2]]))


def _integers() -> Iterator[Case]:
    first, second = torch.tensor([-9, -7, 0, 5, 8, 2**33 + 1]), torch.tensor([4, -3, 5, -2, 3, 7])
    for name in ("add", "sub", "mul", "floor_divide", "remainder", "fmod", "maximum", "minimum", "true_divide"):
        yield case(name, "int64", getattr(torch, name), first, second)
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "eq", "lt", "ge", "logical_and", "logical_xor"):
        yield case(name, "int64", getattr(torch, name), first, second)
    yield case("abs", "int64", torch.abs, first)
    yield case("sign", "int64", torch.sign, first)
    yield case("bitwise_not", "int64", torch.bitwise_not, first)
    yield case("clamp", "int64", lambda x: x.clamp(-3, 6), first)
    yield case("to", "towards zero", lambda x: x.to(torch.int32), torch.tensor([-2.7, -0.5, 0.5, 1.9, 1e6]))


def _unsampled() -> Iterator[Case]:
    table, pairs, signal = torch.randn(4, 6), torch.randn(3, 4, 2), torch.randn(2, 40)
    edges, window = torch.linspace(-2, 2, 9), torch.hann_window(16)
    yield case("searchsorted", "left", torch.searchsorted, edges, table)
    yield case("searchsorted", "right", call(torch.searchsorted, right=True), edges, table.round())
    yield case("slice_scatter", "strided", lambda x, y: x.slice_scatter(y, 1, 1, 6, 2), table, torch.randn(4, 3))
    for name, decomposed in (("svd", torch.svd), ("linalg.svd", torch.linalg.svd)):
        yield case(name, "values", lambda x, f=decomposed: f(x)[1], table)
    labels, widths, lengths = torch.randint(1, 5, (2, 4)), torch.tensor([8, 7]), torch.tensor([4, 3])
    yield case("ctc_loss", "mean", F.ctc_loss, torch.randn(8, 2, 5).log_softmax(-1), labels, widths, lengths)
    yield case("imag", "of a product", lambda x: (torch.view_as_complex(x) * 2j).imag, pairs)
    yield case("view_as_real", "of a product", lambda x: torch.view_as_real(torch.view_as_complex(x) * 2j), pairs)
    yield case("silu.complex", "parts", lambda x: _pair(F.silu(torch.view_as_complex(x))), pairs)
    given: dict[str, Any] = {"n_fft": 16, "hop_length": 4, "window": window}
    yield case("istft", "of stft", lambda x: torch.istft(torch.stft(x, **given, return_complex=True), **given), signal)
