import pytest
import torch

from edgeopt.quant import codebook
from edgeopt.quant.codebook import CODEBOOKS


def test_twice_the_numbers_of_e2m1_are_integers():
    assert CODEBOOKS["fp4"].magnitudes == (0, 1, 2, 3, 4, 6, 8, 12)
    assert CODEBOOKS["int4"].magnitudes == tuple(range(8))


@pytest.mark.parametrize("element", CODEBOOKS.values(), ids=CODEBOOKS)
def test_scales_lose_no_more_than_those_of_the_largest_weight(element):
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


def test_neighbours_are_those_in_the_table():
    below, above = codebook.neighbours(torch.tensor([[-12, 0, 6, 12]]), CODEBOOKS["fp4"])
    assert below.tolist() == [[-12, -1, 4, 8]]
    assert above.tolist() == [[-8, 1, 8, 12]]
