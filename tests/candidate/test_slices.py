"""Channels and samples within one output: a large one hides no small one, and honest rounding is not refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.analysis.noise import Noise, noise_of
from edgeopt.analysis.slices import slices_of
from edgeopt.candidate.limits import FLOORS
from edgeopt.candidate.slices import check_slices, lost_channels
from edgeopt.ir.metrics import Reference
from edgeopt.plugins.testing import to_program

QUIET = Noise({})


def missed(
    expected: list[np.ndarray], got: list[np.ndarray], precision: str = "fp32", noise: Noise = QUIET
) -> dict[str, Any]:
    reference = Reference(tuple({"y": array} for array in expected))
    checked = check_slices(reference, [{"y": array} for array in got], FLOORS[precision], noise)
    return {one.name: one.output for one in checked if not one.ok}


def boxes(*scales: float, count: int = 3) -> list[np.ndarray]:
    """Return outputs of shape (2, 50, channels), each channel at a scale."""
    random = np.random.default_rng(0)
    return [(random.standard_normal((2, 50, len(scales))) * scales).astype(np.float32) for _ in range(count)]


def with_error(arrays: list[np.ndarray], channel: int, share: float) -> list[np.ndarray]:
    factor = np.ones(arrays[0].shape[-1], np.float32)
    factor[channel] += share
    return [array * factor for array in arrays]


@pytest.mark.parametrize(("precision", "wrong", "right"), [("fp32", 0.01, 1e-4), ("fp16", 0.1, 1e-3), ("int8", 2, 0.2)])
def test_a_channel_is_judged_alone(precision: str, wrong: float, right: float) -> None:
    expected = boxes(640, 640, 640, 64)
    assert missed(expected, with_error(expected, 3, wrong), precision) == {"default-channel": "y[:, :, 3]"}
    assert missed(expected, with_error(expected, 3, right), precision) == {}


def test_channels_may_lie_along_the_second_axis_or_be_sparse() -> None:
    expected = [array.transpose(0, 2, 1) for array in boxes(1, 100, 1e-3)]
    got = [array.copy() for array in expected]
    for array in got:
        array[:, 2] *= 1.5
    assert missed(expected, got) == {"default-channel": "y[:, 2, :]"}
    dead = boxes(1, 0)
    assert missed(dead, [array + np.array([0, 1e-4], np.float32) for array in dead]) == {
        "default-channel": "y[:, :, 1]"
    }
    assert missed(dead, [array + np.array([0, 1e-8], np.float32) for array in dead]) == {}


def test_an_output_of_zeros_has_no_small_channels() -> None:
    zeros = boxes(0, 0)
    assert check_slices(Reference(({"y": zeros[0]},)), [{"y": zeros[0]}], FLOORS["fp32"], QUIET) == ()


def test_a_small_sample_is_judged_alone() -> None:
    small, large = boxes(1e-3, 1e-3, count=1)[0], boxes(10, 10, count=1)[0]
    assert missed([small, large], [small * 1.01, large]) == {"default-sample": "y of verification input 0"}
    assert missed([small, large], [small * 1.0001, large]) == {}


@pytest.mark.parametrize(("precision", "bits"), [("int8", 7), ("fp16", 10), ("int4", 3)])
@pytest.mark.parametrize("small", [1, 1e-1, 1e-2, 1e-3, 1e-5])
def test_what_the_format_cannot_hold_beside_large_channels_is_not_asked_for(
    precision: Any, bits: Any, small: Any
) -> None:
    expected = boxes(1, small, 1)
    step = max(np.abs(array).max() for array in expected) / 2**bits
    assert missed(expected, [np.round(array / step) * step for array in expected], precision) == {}


def test_a_channel_that_the_format_leaves_nothing_of_is_told() -> None:
    expected = boxes(640, 640, 1, 0.5)
    step = max(np.abs(array).max() for array in expected) / 127
    reference = Reference(tuple({"y": array} for array in expected))
    got = [{"y": np.round(array / step) * step} for array in expected]
    (told,) = lost_channels(reference, got, FLOORS["int8"])
    assert told.startswith("nothing is left of y[:, :, 2] and 1 more: ") and f"steps of {step:.2g}" in told
    assert lost_channels(reference, [{"y": array} for array in expected], FLOORS["int8"]) == ()
    assert lost_channels(reference, got, FLOORS["fp32"]) == (), "there it is not a format that is too coarse, but wrong"


class Cancelling(nn.Module):
    """The second of two channels is what is left of large values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x, (x * 1e-2 + 3e3) - 3e3], -1)


def test_a_channel_that_is_small_by_cancellation_is_held_to_its_noise() -> None:
    x = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    program = to_program(Cancelling(), (torch.from_numpy(x),))
    noise = noise_of(program, [{"x": x}])
    (exact,) = program.run({"x": x}).values()
    noisy = exact + np.random.default_rng(1).standard_normal(exact.shape) * [0, 1.5e-4]
    noise = Noise({"y": noise.outputs["output"]}, slices={"y": noise.slices["output"]})
    assert missed([exact], [noisy], noise=noise) == {}
    assert missed([exact], [exact * [1, 1.5]], noise=noise)["default-channel"] == "y[:, :, 1]"
    assert missed([exact], [noisy]) != {}, "without the noise it would be refused"


def test_axes_of_changing_size_are_no_channels() -> None:
    arrays = [np.ones((1, size, 3), np.float32) for size in (2, 5)]
    assert set(slices_of(arrays, arrays)) == {None, 2}
    assert slices_of([np.ones((0, 3))], [np.ones((0, 3))]) == {}
    values = np.array([[1.0, np.nan], [np.inf, 2.0]])
    found = slices_of([values], [values])
    assert all(np.isfinite(one.values).all() and not one.error.any() for one in found.values())
