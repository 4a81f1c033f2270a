"""Places of values: what is evenly apart, and in how few dimensions a copy goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeopt.targets.mcu.graph.strides import Strides, canonical, in_order, merged, refined, strides


def test_maps_lie_by_position_and_all_else_in_order() -> None:
    assert canonical((1, 2, 3, 4))[0, 1, 2, 3] == (2 * 4 + 3) * 2 + 1
    assert torch.equal(canonical((1, 5, 6)), in_order((1, 5, 6)))


@pytest.mark.parametrize("move", [lambda x: x.permute(2, 0, 1), lambda x: x[1:, ::2], lambda x: x[:, 1]])
def test_strides_address_what_was_moved(move: object) -> None:
    memory = np.arange(60, dtype=np.int8)
    places = move(in_order((3, 4, 5)))  # type: ignore[operator]
    found = strides(places)
    assert found is not None
    np.testing.assert_array_equal(found.of(memory), memory[places.numpy()])


def test_values_that_are_not_evenly_apart_have_no_strides() -> None:
    assert strides(torch.tensor([0, 1, 3])) is None
    assert strides(in_order((2, 6)).reshape(3, 4)[:, :3].reshape(9)) is None


def test_dimensions_that_were_merged_are_taken_apart() -> None:
    heads = in_order((5, 4, 3)).permute(0, 2, 1)  # by position, channel, head
    joined = heads.reshape(5, 12)
    assert strides(joined) is None
    assert refined(joined) == [5, 3, 4]
    assert strides(joined.reshape(refined(joined))) is not None


def test_dimensions_that_follow_each_other_become_one() -> None:
    source, target = merged(Strides(7, (2, 1, 3, 4), (12, 5, 4, 1)), Strides(0, (2, 1, 3, 4), (12, 9, 4, 1)))
    assert source == Strides(7, (24,), (1,)) and target == Strides(0, (24,), (1,))
    source, target = merged(Strides(0, (2, 3), (3, 1)), Strides(0, (2, 3), (1, 2)))
    assert source.sizes == target.sizes == (2, 3)
