"""Cases written by hand: arguments that are unusual, and values at which formulas break."""

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
    for kind in (
        _convolutions,
        _pools,
        _interpolations,
        _attentions,
        _scatters,
        _bags,
        _reductions,
        _logarithms,
        _distances,
        _recurrent,
    ):
        yield from kind()


def _convolutions() -> Iterator[Case]:
    line, image, volume = torch.randn(2, 4, 9), torch.randn(2, 4, 9, 8), torch.randn(1, 4, 6, 5, 7)
    forms = ((1, 2, 1, 1), (1, 2, 4, 1), (1, 3, 0, 1), (3, 2, 4, 1), (3, 1, "same", 2))
    for (kernel, stride, pad, dilation), groups in product(forms, (1, 2)):
        given: dict[str, Any] = {"stride": stride, "padding": pad, "dilation": dilation, "groups": groups}
        label = f"{kernel} {given}"
        yield case("conv1d", label, nn.Sequential(nn.ReLU(), nn.Conv1d(4, 6, kernel, **given)), line)
        yield case("conv2d", label, nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, kernel, **given)), image)
        yield case("conv3d", label, nn.Sequential(nn.ReLU(), nn.Conv3d(4, 6, kernel, **given)), volume)
    for stride, pad, groups in product((1, 2), (0, 2), (1, 2)):
        given = {"stride": stride, "padding": pad, "groups": groups}
        yield case("conv_transpose1d", f"{given}", nn.ConvTranspose1d(4, 6, 3, **given), line)
        yield case("conv_transpose2d", f"{given}", nn.ConvTranspose2d(4, 6, 3, **given), image)


def _pools() -> Iterator[Case]:
    line, image, volume = torch.randn(2, 3, 9), torch.randn(2, 3, 9, 8), torch.randn(1, 2, 7, 9, 8)
    windows = ((3, 2, 1), (3, 2, 0), (2, 3, 1), (5, 4, 2), (4, 3, 2))
    for (kernel, stride, pad), counted in product(windows, (True, False)):
        given: dict[str, Any] = {"stride": stride, "padding": pad, "ceil_mode": True, "count_include_pad": counted}
        label = f"{kernel} {given}"
        yield case("avg_pool1d", label, nn.AvgPool1d(kernel, **given), line)
        yield case("avg_pool2d", label, nn.AvgPool2d(kernel, **given), image)
        yield case("avg_pool3d", label, nn.AvgPool3d(kernel, **given), volume)
    for counted in (True, False):
        plain: dict[str, Any] = {"stride": 2, "padding": 1, "count_include_pad": counted}
        yield case("avg_pool1d", f"3 {plain}", nn.AvgPool1d(3, **plain), line)
        yield case("avg_pool2d", f"3 {plain}", nn.AvgPool2d(3, **plain), image)
        yield case("avg_pool2d", f"3 divisor 5 {plain}", nn.AvgPool2d(3, **plain, divisor_override=5), image)
        yield case("avg_pool3d", f"2 divisor 3 {plain}", nn.AvgPool3d(2, **plain, divisor_override=3), volume)
    for kernel, stride, pad, dilation in ((3, 2, 1, 1), (2, 3, 0, 1), (3, 2, 1, 2), (3, 1, 1, 3)):
        given = {"stride": stride, "padding": pad, "dilation": dilation, "ceil_mode": True}
        yield case("max_pool1d", f"{kernel} {given}", nn.MaxPool1d(kernel, **given), line)
        yield case("max_pool2d", f"{kernel} {given}", nn.MaxPool2d(kernel, **given), image)
        yield case("max_pool2d", f"{kernel} {given} indices", nn.MaxPool2d(kernel, **given, return_indices=True), image)
        yield case("max_pool3d", f"{kernel} {given}", nn.MaxPool3d(kernel, **given), volume)
    for size in (1, 3, (4, 2), (9, 5)):
        yield case("adaptive_avg_pool2d", f"{size}", nn.AdaptiveAvgPool2d(size), image)
        yield case("adaptive_max_pool2d", f"{size}", nn.AdaptiveMaxPool2d(size), image)
    yield case("adaptive_avg_pool1d", "4", nn.AdaptiveAvgPool1d(4), line)
    for norm, ceil in product((1, 2, 3.5), (True, False)):
        yield case("lp_pool2d", f"{norm} {ceil}", nn.LPPool2d(norm, 3, 2, ceil_mode=ceil), image.abs())


def _interpolations() -> Iterator[Case]:
    image, line = torch.randn(2, 3, 9, 8), torch.randn(2, 3, 9)
    for mode, corners, antialias in product(("bilinear", "bicubic"), (True, False), (True, False)):
        given: dict[str, Any] = {"mode": mode, "align_corners": corners, "antialias": antialias}
        for size in ({"size": (5, 13)}, {"size": (12, 12)}, {"scale_factor": (0.4, 1.7)}, {"size": (1, 1)}):
            yield case("interpolate", f"{size} {given}", call(F.interpolate, **size, **given), image)
        exact = {"scale_factor": 1.7, "recompute_scale_factor": True}
        yield case("interpolate", f"{exact} {given}", call(F.interpolate, **exact, **given), image)
    for mode in ("nearest", "nearest-exact", "area"):
        whole: dict[str, Any]
        for whole in ({"size": (5, 13)}, {"scale_factor": (0.4, 1.7)}, {"scale_factor": 2}):
            yield case("interpolate", f"{whole} {mode}", call(F.interpolate, mode=mode, **whole), image)
        yield case("interpolate", f"line {mode}", call(F.interpolate, mode=mode, size=14), line)
    for corners in (True, False):
        yield case(
            "interpolate", f"line {corners}", call(F.interpolate, mode="linear", size=14, align_corners=corners), line
        )
    grid = torch.rand(2, 5, 4, 2) * 2.4 - 1.2
    for mode, pad, corners in product(
        ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (True, False)
    ):
        given = {"mode": mode, "padding_mode": pad, "align_corners": corners}
        yield case("grid_sample", f"{given}", call(F.grid_sample, **given), image, grid)


def _attentions() -> Iterator[Case]:
    query, key = torch.randn(2, 2, 4, 8), torch.randn(2, 2, 5, 8)
    mask = torch.rand(2, 1, 4, 5) > 0.5
    mask[:, :, 1] = False
    hidden = torch.zeros(mask.shape).masked_fill(~mask, -INF)
    attend = F.scaled_dot_product_attention
    yield case("attention", "boolean mask, empty rows", lambda q, k, m: attend(q, k, k, m), query, key, mask)
    yield case("attention", "float mask, empty rows", lambda q, k, m: attend(q, k, k, m), query, key, hidden)
    yield case("attention", "constant mask", lambda q, k: attend(q, k, k, mask.clone(), scale=0.3), query, key)
    yield case("attention", "float mask", lambda q, k, m: attend(q, k, k, m), query, key, torch.randn(4, 5))
    yield case("attention", "causal", lambda q, k: attend(q, k, k, is_causal=True), query, key)
    shared = torch.randn(2, 6, 4, 8)
    yield case("attention", "grouped", lambda q, k: attend(q, k, k, enable_gqa=True), shared, key)
    yield case("attention", "grouped, masked", lambda q, k, m: attend(q, k, k, m, enable_gqa=True), shared, key, mask)
    padding = torch.tensor([[False, False, True, True, True], [False, True, False, False, True]])
    tokens = torch.randn(2, 5, 8)
    for first in (True, False):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=first).eval()
        yield case(
            "TransformerEncoderLayer",
            f"{first}",
            lambda x, p, m=layer: m(x, src_key_padding_mask=p),
            tokens,
            padding,
        )
    for needed in (True, False):
        attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=needed, add_zero_attn=not needed).eval()
        yield case(
            "MultiheadAttention",
            f"{needed}",
            lambda x, p, m=attention, n=needed: m(x, x, x, key_padding_mask=p, need_weights=n),
            tokens,
            padding,
        )


def _scatters() -> Iterator[Case]:
    line, three, values = torch.randn(5), torch.tensor([0, 1, 1]), torch.randn(4)
    table, index, source = torch.randn(5, 4), torch.randint(0, 4, (3, 3)), torch.randn(4, 4)
    for reduce, own in product(("sum", "prod", "mean", "amax", "amin"), (True, False)):
        label = f"{reduce} {own}"
        given = {"reduce": reduce, "include_self": own}
        yield case(
            "scatter_reduce", label, lambda x, i, s, g=given: x.scatter_reduce(0, i, s, **g), line, three, values
        )
        yield case(
            "scatter_reduce",
            f"{label} table",
            lambda x, i, s, g=given: x.scatter_reduce(1, i, s, **g),
            table,
            index,
            source,
        )
        if reduce != "sum":
            yield case(
                "index_reduce", label, lambda x, i, s, g=given: x.index_reduce(0, i, s, **g), table, three, source[:3]
            )
    apart = torch.stack([torch.randperm(4)[:3] for _ in range(3)])
    yield case("scatter", "smaller index", lambda x, i, s: x.scatter(1, i, s), table, apart, source)
    yield case("scatter_add", "smaller index", lambda x, i, s: x.scatter_add(1, i, s), table, index, source)
    yield case("gather", "smaller index", lambda x, i: (x.gather(1, i), x.gather(0, i)), table, index[:2, :2])
    yield case("index_add", "repeated", lambda x, i, s: x.index_add(0, i, s, alpha=2), table, three, source[:3])
    yield case(
        "index_put", "accumulated", lambda x, i, s: x.index_put((i,), s, accumulate=True), table, three, source[:3]
    )
    yield case("index_put", "negative", lambda x, i, s: x.index_put((i,), s), table, torch.tensor([-1, 0]), source[:2])
    yield case("index", "negative", lambda x, i: (x[i], x[:, i], x[i, i]), table, torch.tensor([-1, 0, -2]))
    yield case("masked_scatter", "constant", lambda x, s: x.masked_scatter(x > 0, s), table, torch.randn(20))


def _bags() -> Iterator[Case]:
    ids, flat, offsets = torch.randint(0, 9, (3, 4)), torch.randint(0, 9, (12,)), torch.tensor([0, 3, 3, 7])
    yield case("EmbeddingBag", "padding_idx", nn.EmbeddingBag(9, 4, padding_idx=0), ids)
    for mode in ("sum", "mean", "max"):
        yield case("EmbeddingBag", f"{mode} offsets", nn.EmbeddingBag(9, 4, mode=mode, padding_idx=2), flat, offsets)
        last = torch.cat([offsets, torch.tensor([12])])
        yield case(
            "EmbeddingBag",
            f"{mode} last offset",
            nn.EmbeddingBag(9, 4, mode=mode, include_last_offset=True),
            flat,
            last,
        )
    weighted = nn.EmbeddingBag(9, 4, mode="sum").eval()
    yield case("EmbeddingBag", "weights", lambda i, w, m=weighted: m(i, per_sample_weights=w), ids, torch.randn(3, 4))
    yield case("Embedding", "max_norm", nn.Embedding(9, 4, padding_idx=1), ids)


def _reductions() -> Iterator[Case]:
    ids, narrow = torch.randint(0, 9, (3, 4)), (torch.randint(0, 9, (3, 4)) * 20).to(torch.uint8)
    for name in ("softmax", "log_softmax"):
        yield case(name, "dtype", lambda x, n=name: getattr(x, n)(-1, dtype=torch.float32), ids)
    for name in ("cumsum", "cumprod", "sum", "prod"):
        yield case(name, "float of integers", lambda x, n=name: getattr(x, n)(0, dtype=torch.float32), ids)
        yield case(name, "uint8", lambda x, n=name: getattr(x, n)(1), narrow)
        yield case(name, "bool", lambda x, n=name: getattr(x > 4, n)(1), ids)
    yield case("sum", "all of bool", lambda x: (x > 4).sum(), ids)
    yield case("mean", "dtype", lambda x: x.mean(0, dtype=torch.float32), ids)
    yield case("argmax", "ties", lambda x: (x.argmax(1), x.argmin(1), x.argmax()), ids)
    yield case("max", "ties", lambda x: (*x.max(1), *x.min(0)), ids.float())
    values = torch.randn(3, 4)
    for dims in ((0,), (1,), (0, 1)):
        for correction in (0, 1, 2):
            yield case("var", f"{dims} {correction}", lambda x, d=dims, c=correction: x.var(d, correction=c), values)
    for order in (0, 1, 2, 3, INF, -INF, 0.5):
        yield case("vector_norm", f"{order}", lambda x, o=order: torch.linalg.vector_norm(x, o, 1), values)
    yield case("logsumexp", "far", lambda x: torch.logsumexp(x, 1), values * 100)
    yield case("logcumsumexp", "far", lambda x: torch.logcumsumexp(x, 1), values * 30)
    yield case("nansum", "nan", lambda x: torch.where(x > 0, x, torch.nan).nansum(1), values)


_ACTIVATIONS = ("logsigmoid", "softplus", "mish", "silu", "gelu", "elu", "celu", "selu", "softsign")
_GROWING = ("exp", "sigmoid", "tanh", "expm1", "erf", "atan", "asinh", "exp2", "square", "reciprocal", "abs", "sign")


def _logarithms() -> Iterator[Case]:
    far = torch.tensor(
        [-3e38, -1e4, -104.0, -95, -89, -30, -1, -1e-4, -1e-8, 0, 1e-30, 1e-8, 1e-4, 0.5, 1, 15, 25, 88, 89, 1e4, 3e38]
    )
    below, near = torch.tensor([-100.0, -97, -95, -91]), torch.tensor([-1e-7, 1e-7, 3e-8, -5e-9, 1e-12])
    small = ("log1p", "expm1", "sin", "tan", "tanh", "sinh", "asinh", "atanh", "erf", "atan", "asin")
    for name in small:
        yield case(name, "near 0", getattr(torch, name), near)
    for name in _ACTIVATIONS:
        yield case(name, "far", getattr(F, name), far)
        yield case(name, "below -90", getattr(F, name), below)
        yield case(name, "near 0", getattr(F, name), near)
    for name in _GROWING:
        yield case(name, "far", getattr(torch, name), far)
    # torch's own product overflows at the ends of float32.
    yield case("hardswish", "far", F.hardswish, far / 10)
    yield case("hardsigmoid", "far", F.hardsigmoid, far)
    yield case("tanhshrink", "far", F.tanhshrink, far)
    yield case("log1p", "far", torch.log1p, far.abs())
    yield case("gelu", "tanh far", lambda x: F.gelu(x, approximate="tanh"), far)
    yield case("softplus", "beta", lambda x: F.softplus(x, 2.0, 10.0), far)
    yield case("logaddexp", "far", torch.logaddexp, far, far.flip(0))
    yield case("hypot", "far", torch.hypot, far, far.flip(0))
    steps = torch.arange(-8, 8) / 2
    for name in ("round", "floor", "ceil", "trunc", "frac"):
        yield case(name, "halves", getattr(torch, name), steps)
    for mode in (None, "trunc", "floor"):
        yield case("div", f"{mode}", lambda a, b, m=mode: torch.div(a, b, rounding_mode=m), steps, steps.flip(0) + 0.25)
    yield case("remainder", "signs", torch.remainder, steps, steps.flip(0) + 0.25)
    yield case("fmod", "signs", torch.fmod, steps, steps.flip(0) + 0.25)


def _distances() -> Iterator[Case]:
    a, b = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    for p in (0.0, 0.5, 1.0, 2.0, 3.0, INF):
        yield case("cdist", f"{p}", lambda x, y, p=p: torch.cdist(x, y, p), a, b)
        yield case("pdist", f"{p}", lambda x, p=p: F.pdist(x, p), a[0])
    yield case("cdist", "near", lambda x, y: torch.cdist(x, y), a, a + 1e-4)
    yield case("pairwise_distance", "1", lambda x, y: F.pairwise_distance(x, y, 1.0), a, a + 1)
    yield case("cosine_similarity", "2", lambda x, y: F.cosine_similarity(x, y, 2), a, a + 1)


def _recurrent() -> Iterator[Case]:
    batch, steps = torch.randn(2, 5, 4), torch.randn(5, 2, 4)
    for both, layers in product((True, False), (1, 2)):
        given: dict[str, Any] = {"num_layers": layers, "bidirectional": both}
        for kind in (nn.LSTM, nn.GRU, nn.RNN):
            yield case(kind.__name__, f"{given}", kind(4, 6, batch_first=True, **given), batch)
        yield case("LSTM", f"projection {given}", nn.LSTM(4, 6, proj_size=3, batch_first=True, **given), batch)
    states = torch.randn(1, 2, 3), torch.randn(1, 2, 6)
    projected = nn.LSTM(4, 6, proj_size=3, bias=False).eval()
    yield case("LSTM", "projection, states", lambda x, h, c, m=projected: m(x, (h, c)), steps, *states)
    cell = nn.LSTMCell(4, 6)
    yield case("RNN", "relu", nn.RNN(4, 6, nonlinearity="relu"), steps)
    yield case(
        "LSTMCell",
        "states",
        lambda x, h, c, m=cell: m(x, (h, c)),
        steps[0],
        torch.randn(2, 6),
        torch.randn(2, 6),
    )
    yield case("GRUCell", "states", nn.GRUCell(4, 6), steps[0], torch.randn(2, 6))
