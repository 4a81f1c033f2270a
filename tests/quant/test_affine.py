from typing import Any

import pytest
import torch

from edgeopt.errors import PassError
from edgeopt.ir.program import Range
from edgeopt.quant.qparams import fitting_bias, for_activation, for_bias, for_weight, symmetric, to_integers


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
@pytest.mark.parametrize("ends", [(-1.0, 3.0), (0.5, 3.0), (-3.0, -0.5), (0.0, 0.0)])
def test_activation_ranges_hold_zero_exactly(dtype: Any, ends: Any) -> None:
    affine = for_activation(Range((ends[0],), (ends[1],)), dtype)
    info = torch.iinfo(dtype)
    zero = int(affine.zero_point)
    assert info.min <= zero <= info.max
    low, high = ((limit - zero) * float(affine.scale) for limit in (info.min, info.max))
    step = float(affine.scale)
    assert low <= min(ends[0], 0) + step and high >= max(ends[1], 0) - step


def test_activations_take_one_range() -> None:
    with pytest.raises(PassError, match="2 channels"):
        for_activation(Range((0.0, 0.0), (1.0, 1.0)), torch.int8)


def test_weights_are_symmetric_by_channel() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.5, 0.25], [0.0, 0.0]])
    affine = for_weight(weight)
    assert to_integers(weight, affine).tolist() == [[64, -127], [127, 64], [0, 0]]
    assert torch.all(affine.scale > 0)


def test_a_bias_fits_int32_even_where_weights_vanish() -> None:
    weight, bias = torch.tensor([[1e-20], [1.0]]), torch.tensor([100.0, 1.0])
    scale = torch.tensor(0.01)
    affine = fitting_bias(for_weight(weight), bias, scale)
    q = to_integers(bias, for_bias(scale, affine))
    assert q.dtype == torch.int32
    assert torch.allclose(q * scale * affine.scale, bias, rtol=1e-6)


@pytest.mark.parametrize("ends", [(-3.0, 1.0), (0.0, 6.0), (-1e-3, 7e4), (0.1, 1 / 3), (-0.7, -0.2)])
def test_a_symmetric_range_has_zero_point_zero(ends: tuple[float, float]) -> None:
    spread = symmetric(Range((ends[0],), (ends[1],)), torch.int8)
    affine = for_activation(spread, torch.int8)
    assert affine.zero_point == 0
    assert float(affine.scale) == pytest.approx(max(map(abs, ends)) / 127, rel=1e-6)
