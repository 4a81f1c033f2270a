from typing import Any

import numpy as np
import pytest
import torch

from edgeopt.calib import entropy, minmax, moving_average, mse, percentile
from edgeopt.calib.statistics import Extremes, Histogram, Statistics


def statistics(*samples: Any) -> Any:
    extremes = Extremes()
    for sample in samples:
        extremes.add(torch.as_tensor(sample))
    histogram = Histogram(extremes.low, extremes.high)
    for sample in samples:
        histogram.add(torch.as_tensor(sample))
    return Statistics(extremes, histogram)


def normal(count: int = 100_000) -> Any:
    return np.random.default_rng(0).standard_normal(count).astype(np.float32)


def test_every_value_is_counted_once_with_both_ends_inside() -> None:
    histogram = statistics([0.0, 0.5, 1.0]).histogram
    assert histogram.counts.sum() == 3 and histogram.counts[0] == 1 and histogram.counts[-1] == 1
    constant = statistics([2.0, 2.0]).histogram
    assert constant.counts.sum() == 2


def test_means_of_extremes_are_exact_in_any_order() -> None:
    values = [[float(v), float(-v)] for v in np.random.default_rng(0).standard_normal(50).astype(np.float32) * 1e6]
    forward, backward = statistics(*values).extremes, statistics(*reversed(values)).extremes
    assert (forward.low_sum, forward.high_sum) == (backward.low_sum, backward.high_sum)
    assert moving_average.estimate(Statistics(forward)) == pytest.approx(
        (-np.mean([abs(v[0]) for v in values]), np.mean([abs(v[0]) for v in values]))
    )


@pytest.mark.parametrize("infinite", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_value_that_is_not_finite_once_has_no_extremes(infinite: Any, place: Any) -> None:
    samples = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]
    samples.insert(place, torch.tensor([0.5, infinite]))
    extremes = Extremes()
    for sample in samples:
        extremes.add(sample)
    assert (extremes.low, extremes.high, extremes.samples) == (-np.inf, np.inf, 3)


def test_minmax() -> None:
    assert minmax.estimate(statistics([1.0, 3.0], [-2.0, 0.0])) == (-2.0, 3.0)


def test_percentile_cuts_half_of_the_rest_at_each_end() -> None:
    low, high = percentile.estimate(statistics(normal()), keep=95.45)
    assert (low, high) == pytest.approx((-2, 2), abs=0.05)


def test_mse_clips_a_normal_and_keeps_a_uniform_distribution() -> None:
    low, high = mse.estimate(statistics(np.concatenate([normal(), [-60.0, 60.0]]).astype(np.float32)))
    assert -55 < low < -3 and 3 < high < 55
    assert mse.estimate(statistics(np.linspace(-1, 1, 10_000, dtype=np.float32))) == pytest.approx((-1, 1), abs=0.02)


def test_mse_has_less_error_than_minmax() -> None:
    values = np.concatenate([normal(), [40.0]]).astype(np.float32)
    by_mse, by_extremes = (rounded(values, *estimator.estimate(statistics(values))) for estimator in (mse, minmax))
    assert np.square(by_mse - values).sum() < np.square(by_extremes - values).sum()


def rounded(values: Any, low: Any, high: Any) -> Any:
    """Values on the grid of 256 steps between two ends, zero among them."""
    step = (high - low) / 255
    zero = round(-low / step)
    return (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step


def test_entropy_drops_a_lone_outlier_and_is_not_fooled_by_zeros() -> None:
    values = np.concatenate([normal(), [60.0]]).astype(np.float32)
    low, high = entropy.estimate(statistics(values))
    assert low < -3 and 3 < high < 30
    rectified = np.maximum(normal(), 0)
    assert entropy.estimate(statistics(rectified))[1] > 2
