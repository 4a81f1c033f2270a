"""Signs packed in words: every identity against float products."""

from __future__ import annotations

import pytest
import torch

from edgeopt.quant.binary import (
    binarize,
    dot_bits,
    dot_bits_signs,
    dot_signs,
    pack,
    popcount,
    scaled_signs,
    signs,
    unpack,
    words,
)

SIZES = (1, 7, 31, 32, 33, 64, 100, 257)


def test_the_sign_of_both_zeros_is_plus() -> None:
    assert signs(torch.tensor([0.0, -0.0, 1e-38, -1e-38, torch.inf, -torch.inf])).tolist() == [1, 1, 1, -1, 1, -1]


@pytest.mark.parametrize("size", SIZES)
def test_packing_is_undone(size: int) -> None:
    x = torch.randn(3, 2, size)
    packed = pack(x)
    assert packed.dtype == torch.int32
    assert packed.shape == (3, 2, words(size))
    assert torch.equal(unpack(packed, size), signs(x))
    assert torch.equal(popcount(packed).sum(-1), (x >= 0).sum(-1))


@pytest.mark.parametrize("size", SIZES)
def test_products_are_counts(size: int) -> None:
    a, b = torch.randn(5, size), torch.randn(5, size)
    sign_a, sign_b, bit_a, bit_b = signs(a), signs(b), (a >= 0).float(), (b >= 0).float()
    packed_a, packed_b = pack(a), pack(b)
    assert torch.equal(dot_signs(packed_a, packed_b, size), (sign_a * sign_b).sum(-1).long())
    assert torch.equal(dot_bits(packed_a, packed_b), (bit_a * bit_b).sum(-1).long())
    assert torch.equal(dot_bits_signs(packed_a, packed_b), (bit_a * sign_b).sum(-1).long())


def test_scales_are_mean_magnitudes() -> None:
    weight = torch.randn(4, 3, 3, 3) + 0.3
    sign, scale = binarize(weight)
    assert torch.equal(sign, signs(weight))
    torch.testing.assert_close(scale, weight.abs().mean((1, 2, 3)))
    # The mean magnitude is the scale of least squares.
    errors = [((weight - (scale * f).view(-1, 1, 1, 1) * sign) ** 2).sum() for f in (0.99, 1.0, 1.01)]
    assert errors[1] == min(errors)
    sign, scale = binarize(weight, "tensor", centered=True)
    assert torch.equal(sign, signs(weight - weight.mean()))
    torch.testing.assert_close(scale, weight.abs().mean().expand(4))


def test_weights_of_one_magnitude_are_recognized() -> None:
    sign, scale = signs(torch.randn(4, 6)), torch.rand(4) + 0.1
    found = scaled_signs(sign * scale[:, None])
    assert found is not None
    assert torch.equal(found[0], sign)
    torch.testing.assert_close(found[1], scale)
    assert scaled_signs(torch.randn(4, 6)) is None
    assert scaled_signs(torch.zeros(4, 6)) is None
