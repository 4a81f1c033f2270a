"""Operators that exporters refuse or compute wrongly by themselves are torch's, on every target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from edgeopt.plugins.registry import resolve
from tests.operators.cases import Case, call, case
from tests.operators.judge import difference
from tests.operators.runner import THROUGH_EXPORTERS, traced


def plain_forms() -> Iterator[Case]:
    torch.manual_seed(0)
    signal, edges, square = torch.randn(4, 16), torch.linspace(-2, 2, 9), torch.randn(2, 3, 3)
    # Of a real signal the ends of the spectrum are real: below 0 the angle is pi, not -pi.
    yield case("angle", "rfft", lambda x: torch.fft.rfft(x).angle(), signal)
    yield case("angle", "odd", lambda x: torch.fft.rfft(x).angle(), signal[:, 1:])
    yield case("angle", "real", torch.angle, torch.tensor([1.0, -1.0, 0.0, -0.0]))
    yield case("angle", "integers", torch.angle, torch.tensor([-2, 0, 3]))
    for given in (
        {"window": torch.hann_window(8)},
        {"window": torch.ones(8), "normalized": True, "length": 14},
    ):
        yield case("istft", f"{given}", lambda x, g={"n_fft": 8, **given}: _there_and_back(x, g), signal)
    yield case("soft_margin_loss", "small", F.soft_margin_loss, signal.abs() * 9, torch.ones(4, 16))
    yield case("searchsorted", "left", torch.searchsorted, edges, signal)
    yield case("searchsorted", "right", call(torch.searchsorted, right=True), edges, signal.round())
    yield case("angle", "of a conjugate", lambda x: torch.fft.rfft(x).conj().angle(), signal)
    yield case("imag", "of a conjugate", lambda x: torch.view_as_complex(x).conj().imag + 1, torch.randn(3, 2))
    far = torch.tensor([-torch.inf, -3.0, 0.5, torch.inf])
    yield case("clamp", "below", lambda x: (x.clamp(min=0), x.clamp(min=0.25), x.clamp_min(0.25)), far)
    yield case("clamp", "above", lambda x: (x.clamp(max=0), x.clamp(max=0.25), x.clamp_max(0.25)), far)
    for dtype in (torch.int8, torch.int16):
        limits = torch.iinfo(dtype)
        yield case("abs", str(dtype), torch.abs, torch.tensor([limits.min, -5, 0, limits.max], dtype=dtype))
    yield case("neg", "uint8", torch.neg, torch.tensor([0, 1, 200, 255], dtype=torch.uint8))
    for exponent in (0, 1, 3, 6, 7):
        yield case("matrix_power", f"{exponent}", lambda x, n=exponent: torch.linalg.matrix_power(x, n) + 1, square)
    yield case("linspace", "tensors", lambda a, b: torch.linspace(a, b, 7), *edges[[2, 7]].unbind())
    yield case("linspace", "to a number", lambda a: torch.linspace(a, 9, 4), edges[2])
    yield case("aminmax", "all", lambda x: tuple(torch.aminmax(x)), signal)
    yield case("aminmax", "axis", lambda x: tuple(torch.aminmax(x, dim=1, keepdim=True)), signal)


def _there_and_back(signal: torch.Tensor, given: dict[str, Any]) -> torch.Tensor:
    spectrum = torch.stft(signal, **{k: v for k, v in given.items() if k != "length"}, return_complex=True)
    return torch.istft(spectrum * 2, **given)


def places() -> Iterator[Case]:
    """Where the largest values of pools are."""
    torch.manual_seed(0)
    image = torch.randn(2, 3, 9, 8)
    for given in ({}, {"padding": 1, "ceil_mode": True}, {"padding": 1, "dilation": 2, "ceil_mode": True}):
        pool = {"kernel_size": 3, "stride": 2, "return_indices": True, **given}
        yield case("max_pool2d", f"places {given}", lambda x, p=pool: F.max_pool2d(x, **p), image)
        yield case("max_pool1d", f"places {given}", lambda x, p=pool: F.max_pool1d(x, **p), image[0])
    yield case(
        "adaptive_max_pool1d", "places", call(F.adaptive_max_pool1d, output_size=4, return_indices=True), image[0]
    )
    yield case(
        "adaptive_max_pool2d", "places", call(F.adaptive_max_pool2d, output_size=(3, 4), return_indices=True), image
    )


def of_integers() -> Iterator[Case]:
    """Pools of integers, and what returns its operand: several outputs are one input, or a view of it."""
    torch.manual_seed(0)
    image, volume = torch.randint(-50, 50, (2, 3, 9, 8)), torch.randint(-50, 50, (1, 2, 5, 6, 4))
    ceil = {"stride": 2, "padding": 1, "ceil_mode": True}
    yield case("max_pool2d", "dilated", call(F.max_pool2d, kernel_size=(3, 2), dilation=2, **ceil), image)
    yield case("max_pool2d", "places", call(F.max_pool2d, kernel_size=3, return_indices=True, **ceil), image)
    yield case("max_pool3d", "places", call(F.max_pool3d, kernel_size=2, return_indices=True, **ceil), volume)
    yield case("max_pool2d", "least", call(F.max_pool2d, kernel_size=3, **ceil), torch.full((1, 5, 5), -(10**6)))
    yield case("avg_pool1d", "ceil", call(F.avg_pool1d, kernel_size=3, **ceil), image[0])
    yield case("avg_pool2d", "inside", call(F.avg_pool2d, kernel_size=3, count_include_pad=False, **ceil), image)
    yield case("avg_pool2d", "divisor", call(F.avg_pool2d, kernel_size=3, divisor_override=-5), image)
    yield case("avg_pool3d", "padded", call(F.avg_pool3d, kernel_size=2, padding=1), volume)
    yield case("sum", "of a number", lambda x: (x.sum(), x.sum(0), x.prod()), torch.tensor(5))
    yield case("amax", "of a number", lambda x: (x.amax(0), x.amin(0), x.amax()), torch.tensor(3.0))
    yield case("gather", "of a number", lambda x, i: x.gather(0, i), torch.tensor(3.0), torch.tensor([0, 0]))
    yield case("relu", "int64", lambda x: (x.relu(), x.isfinite()), image)
    yield case("t_copy", "one axis", lambda x: (x.t(), torch.t_copy(x), x), torch.arange(3))
    yield case("transpose_copy", "two axes", lambda x: torch.transpose_copy(x, 0, -1), image)


@pytest.mark.parametrize("cases", [plain_forms, places, of_integers])
@pytest.mark.parametrize("name", THROUGH_EXPORTERS)
def test_computed_as_torch_does(name: str, cases: Callable[[], Iterator[Case]], tmp_path: Path) -> None:
    target = resolve(name)
    if not (probe := target.probe()).found:
        pytest.skip(str(probe.install))
    groups, lost = traced(list(cases()))
    faults: dict[str, object] = dict(lost)
    for index, group in enumerate(groups):
        folder = tmp_path / str(index)
        folder.mkdir()
        target.compile(group.program, folder, target.Options())
        with closing(target.open(folder, target.Options())) as session:
            got = session.run(group.feed)
        for output, expected in group.program.run(group.feed).items():
            if (fault := difference(expected, got[output], 0.0)) is not None:
                faults[group.cases[int(output.split("_")[1])].name] = fault
    assert not faults
