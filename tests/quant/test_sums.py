from typing import Any

import pytest
import torch

from edgeopt.quant.pairs import for_paired_weight
from edgeopt.quant.qparams import fitting_bias, for_bias, for_weight, to_integers
from edgeopt.quant.sums import fitting_sums, largest_sum


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_long_rows_fit_32_bits(sign: Any) -> None:
    weight = torch.full((2, 150_528), sign / 150_528)
    weight[1] *= torch.rand(150_528, generator=torch.Generator().manual_seed(0))
    bias, input_scale = torch.tensor([0.5, -0.01]), torch.tensor(1 / 255)
    affine = fitting_bias(fitting_sums(for_weight(weight), weight), bias, input_scale)
    integers, stored = to_integers(weight, affine), to_integers(bias, for_bias(input_scale, affine))
    assert largest_sum(to_integers(weight, for_weight(weight)), None) >= 2**32
    assert largest_sum(integers, stored) < 2**31
    # Either neighbor of each weight still fits.
    assert largest_sum(integers.int() + sign, stored) < 2**31
    assert torch.allclose(integers.double() * affine.scale.double().view(2, 1), weight.double(), atol=0.03 / 150_528)


def test_scales_of_ordinary_layers_stay() -> None:
    for shape in ((4, 8192), (2, 3640, 3, 3), (3, 100_000)):
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        for affine in (for_weight(weight), for_paired_weight(weight, "any")):
            assert torch.equal(fitting_sums(affine, weight).scale, affine.scale)


def test_the_largest_sum_is_that_of_one_sign_beside_the_bias() -> None:
    integers = torch.tensor([[3, -5, 4], [1, 1, 1]], dtype=torch.int8)
    assert largest_sum(integers, None) == 256 * 7
    assert largest_sum(integers, torch.tensor([-9, -(2**31)], dtype=torch.int32)) == 256 * 3 + 2**31
