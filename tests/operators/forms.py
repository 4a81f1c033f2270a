"""Cases that exporters or runtimes take for others: second names, points on the axes, spectra of real numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from tests.operators.cases import Case, call, case


def cases() -> Iterator[Case]:
    """Yield all of them; the same ones every time."""
    torch.manual_seed(0)
    for kind in (_names, _tails, _spectra, _single, _losses):
        yield from kind()


def _names() -> Iterator[Case]:
    near, dividends = torch.tensor([-1e-7, 1e-7, 3e-8, -5e-9, 1e-12]), torch.tensor([9, 7, -7])
    for name in ("expm1", "log1p", "erf"):
        yield case(f"special.{name}", "near 0", getattr(torch.special, name), near)
    yield case("divide", "int64", torch.divide, dividends, torch.tensor([3, 2, 2]))
    yield case("special.softmax", "dtype", lambda x: torch.special.softmax(x, 0, dtype=torch.float32), dividends)


def _tails() -> Iterator[Case]:
    ends = torch.tensor([0.0, -0.0, 1, -1, 3, -3, torch.inf, -torch.inf, 1e-30, -1e30])
    yield case("atan2", "axes", torch.atan2, ends.repeat_interleave(10), ends.repeat(10))
    yield case("atan2", "int64", torch.atan2, torch.tensor([0, 0, 3, -2]), torch.tensor([-3, 0, 0, 0]))
    yield case("mish", "one of -8.2", F.mish, torch.tensor(-8.2))
    yield case(
        "bitwise_right_shift", "negative", torch.bitwise_right_shift, torch.tensor([-9, 8]), torch.tensor([1, 2])
    )


def _spectra() -> Iterator[Case]:
    values = torch.randn(5, 6, 7)
    for name in ("hfft", "irfft", "irfft2"):
        yield case(f"fft.{name}", "of real numbers", getattr(torch.fft, name), values)


def _single() -> Iterator[Case]:
    image = torch.randn(2, 3, 9, 8)
    for mode in ("bilinear", "bicubic"):
        resized = call(F.interpolate, size=(1, 4), mode=mode, align_corners=False)
        yield case("interpolate", f"to one row {mode}", resized, image)
    yield case("max", "no axis", lambda x: (*x.max(0), *x.min(-1)), torch.tensor(3.0))
    yield case("cumsum", "no axis", lambda x: x.cumsum(0), torch.tensor(5))
    yield case("sum", "no axis", lambda x: (x.sum(), x.sum(0), x.prod()), torch.tensor(5))
    yield case("amax", "no axis", lambda x: (x.amax(0), x.amin(0), x.amax()), torch.tensor(3.0))
    yield case("amin", "all axes", lambda x: x.amin(), image)
    yield case("t_copy", "one axis", torch.t_copy, torch.arange(3))
    yield case("transpose_copy", "of itself", lambda x: torch.transpose_copy(x, 0, 0), torch.arange(3.0))
    yield case("ceil", "int64", lambda x: (x.ceil(), x.round()), torch.tensor([-9, 2**40 + 1]))
    yield case("linspace", "nothing", lambda x: (x, torch.linspace(0, 1, 0)), image)


def _losses() -> Iterator[Case]:
    scores, given, weight = torch.randn(4, 5), torch.randn(4, 5).softmax(-1), torch.rand(5)
    for reduction in ("none", "mean"):
        loss = call(F.cross_entropy, weight=weight, reduction=reduction, label_smoothing=0.1)
        yield case("cross_entropy", f"probabilities {reduction}", loss, scores, given)
