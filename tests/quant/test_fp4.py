from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from edgeopt.errors import UserError
from edgeopt.quant.blockwise import FORMATS, Blocks
from edgeopt.quant.float4 import E1M2, E2M1, E3M0, INT4, float4, pack, unpack

ELEMENTS = (E1M2, E2M1, E3M0, INT4)
CODES = torch.arange(16, dtype=torch.uint8)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_the_grids_are_the_formats() -> None:
    assert E2M1.magnitudes == (0, 0.5, 1, 1.5, 2, 3, 4, 6)
    assert E1M2.magnitudes == (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75)
    assert E3M0.magnitudes == (0, 1, 2, 4, 8, 16, 32, 64)
    assert INT4.magnitudes == (0, 1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize("element", ELEMENTS, ids=lambda e: e.name)
def test_every_code_round_trips(element: Any) -> None:
    assert torch.equal(element.encode(element.decode(CODES)), CODES)


def test_a_bias_is_a_scale() -> None:
    for bias in (-0.3, 0.0, 2.5):
        found = torch.tensor(float4(2, bias).magnitudes)
        assert torch.allclose(found, torch.tensor(E2M1.magnitudes) * 2 ** (1 - bias))


def test_e2m1_is_bit_exact_with_ml_dtypes() -> None:
    ties = torch.tensor([(a + b) / 2 for a, b in zip(E2M1.magnitudes, E2M1.magnitudes[1:], strict=False)])
    values = torch.cat([random(4000) * 4, ties, -ties, torch.tensor([0.0, -0.0, 1e9, -1e9])])
    expected = values.numpy().astype(ml_dtypes.float4_e2m1fn)
    assert np.array_equal(E2M1.encode(values).numpy(), expected.view(np.uint8))
    assert np.array_equal(E2M1.decode(E2M1.encode(values)).numpy(), expected.astype(np.float32))


def test_nothing_is_nearer() -> None:
    values = random(500) * 5
    for element in ELEMENTS:
        distance = (values.unsqueeze(1) - element.table()).abs().amin(1)
        assert torch.equal((element.nearest(values) - values).abs(), distance)


@pytest.mark.parametrize("element", ELEMENTS, ids=lambda e: e.name)
def test_the_nearest_is_what_the_code_stands_for(element: Any) -> None:
    values = torch.cat([random(500) * 5, element.table(), torch.tensor([0.0, -0.0, 1e9, -1e9])])
    found, coded = element.nearest(values), element.decode(element.encode(values))
    assert torch.equal(found, coded) and torch.equal(found.signbit(), coded.signbit())


def test_two_a_byte() -> None:
    codes = CODES.reshape(2, 8)
    packed = pack(codes)
    assert packed.shape == (2, 4) and packed[0, 0] == 0x10
    assert torch.equal(unpack(packed), codes)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_stored_is_read_again(name: str) -> None:
    kind = FORMATS[name]
    stored = Blocks.nearest(random(6, 128), kind)
    again = Blocks.rounded(stored.values, kind, stored.scale, stored.factor)
    assert torch.equal(again.values, stored.values)
    error = (stored.values - random(6, 128)).square().mean()
    assert error < 0.02


def test_mxfp4_scales_are_those_of_the_specification() -> None:
    kind = FORMATS["mxfp4"]
    values = random(8, 64) * 100
    scale = Blocks.nearest(values, kind).scale
    largest = values.reshape(8, 2, 32).abs().amax(-1).numpy()
    expected = (2.0 ** (np.floor(np.log2(largest)) - 2)).astype(ml_dtypes.float8_e8m0fnu)
    assert np.array_equal(scale.view(torch.uint8).numpy(), expected.view(np.uint8))


def test_nvfp4_scales_are_e4m3_under_one_factor() -> None:
    kind = FORMATS["nvfp4"]
    values = random(8, 64)
    stored = Blocks.nearest(values, kind)
    assert stored.factor == values.abs().max() / (6 * 448)
    wanted = values.reshape(8, 4, 16).abs().amax(-1) / (6 * stored.factor)
    assert np.array_equal(
        stored.scale.view(torch.uint8).numpy(), wanted.numpy().astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    )
    assert stored.nbytes == 8 * 64 // 2 + 8 * 4 + 4


@pytest.mark.parametrize("name", FORMATS)
def test_searched_scales_err_no_more(name: str) -> None:
    kind, values = FORMATS[name], random(16, 128)
    factor, weights = kind.factor(values), torch.ones(())
    blocks = kind.blocks(values)
    found = Blocks.rounded(values, kind, kind.search(blocks, weights, factor), factor).values
    plain = Blocks.nearest(values, kind).values
    assert (found - values).square().sum() < (plain - values).square().sum()


def test_zeros_stay_zero_and_odd_lengths_are_refused() -> None:
    for kind in FORMATS.values():
        assert not Blocks.nearest(torch.zeros(2, 64), kind).values.any()
    with pytest.raises(UserError, match="24 values do not divide into blocks of 32"):
        Blocks.nearest(random(2, 24), FORMATS["mxfp4"])
