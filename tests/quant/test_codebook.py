from typing import Any

import pytest
import torch

from edgeopt.quant import codebook
from edgeopt.quant.codebook import CODEBOOKS


def test_sixteen_times_the_numbers_are_integers_of_int8() -> None:
    assert CODEBOOKS["fp4"].magnitudes == (0, 8, 16, 24, 32, 48, 64, 96)
    assert CODEBOOKS["int4"].magnitudes == tuple(range(0, 113, 16))


@pytest.mark.parametrize("element", CODEBOOKS.values(), ids=CODEBOOKS)
def test_scales_lose_no_more_than_those_of_the_largest_weight(element: Any) -> None:
    weight = torch.randn(6, 3, 3, 3)
    affine = codebook.for_weight(weight, element)
    integers = codebook.to_integers(weight, affine, element)
    assert integers.dtype == torch.int8
    assert set(integers.abs().flatten().tolist()) <= set(element.magnitudes)
    error = (integers * affine.scale.view(-1, 1, 1, 1) - weight).square().flatten(1).sum(1)
    plain = weight.flatten(1).abs().amax(1) / element.largest
    rounded = element.nearest(weight / plain.view(-1, 1, 1, 1)) * plain.view(-1, 1, 1, 1)
    assert torch.all(error <= (rounded - weight).square().flatten(1).sum(1) * 1.00001)
    assert error.sum() < 0.95 * (rounded - weight).square().sum()


def test_neighbors_are_those_in_the_table() -> None:
    below, above = codebook.neighbors(torch.tensor([[-96, 0, 48, 96]]), CODEBOOKS["fp4"])
    assert below.tolist() == [[-96, -8, 32, 64]]
    assert above.tolist() == [[-64, 8, 64, 96]]
