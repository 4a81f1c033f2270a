from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.calib.moments import LONGEST, HeldOut, Identified, Patches, patches
from edgeopt.ir.program import Range
from edgeopt.ir.rewrite import arguments
from edgeopt.plugins.testing import to_program
from tests.typed import some


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 4), (3, 5, 6)),
        (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (1, 4, 9)),
        (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), (2, 4, 9, 8)),
    ],
    ids=["linear", "conv1d", "conv2d"],
)
def test_patches_times_weight_is_the_layer(layer: Any, shape: Any) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    program = to_program(layer, [x])
    (node,) = program.calls
    weight = program.constant(arguments(node)["weight"])
    vectors = patches(node, x)
    groups, _, size = vectors.shape
    products = vectors @ some(weight).reshape(groups, -1, size).transpose(1, 2)
    with torch.no_grad():
        expected = layer(x)
    channels = expected.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).flatten(1)
    got = products.transpose(1, 2).flatten(0, 1) + layer.bias.detach().unsqueeze(1)
    assert torch.allclose(got, channels, atol=1e-5)
    seen = Patches.within(node, Range((-4.0,), (4.0,)))
    seen.add(x)
    assert seen.step == 2**-10
    assert torch.all((seen.mean - vectors.mean(1)).abs() <= seen.step / 2)
    assert torch.allclose(
        some(seen.second), vectors.double().transpose(1, 2) @ vectors.double() / vectors.shape[1], atol=4e-3
    )


def samples(count: int) -> Any:
    return list(torch.randn(count, 1, 5, 6, generator=torch.Generator().manual_seed(1)))


def test_moments_do_not_depend_on_the_order() -> None:
    program = to_program(nn.Linear(6, 2), [torch.zeros(1, 5, 6)])
    (node,) = program.calls
    found = []
    for order in (range(40), np.random.default_rng(0).permutation(40)):
        seen = Patches.within(node, Range((-2.0,), (2.0,)))
        for index in order:
            seen.add(samples(40)[index])
        found.append(seen)
    assert torch.equal(some(found[0].second), some(found[1].second)) and torch.equal(
        some(found[0].mean), some(found[1].mean)
    )


def test_long_vectors_have_no_second_moments() -> None:
    node = next(to_program(nn.Linear(LONGEST + 1, 1), [torch.zeros(1, LONGEST + 1)]).calls)
    seen = Patches.within(node, Range((0.0,), (1.0,)))
    seen.add(torch.full((1, LONGEST + 1), 0.5))
    assert seen.second is None and torch.equal(seen.mean, torch.full((1, LONGEST + 1), 0.5).double())


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_the_samples_held_out_do_not_depend_on_the_order(count: int) -> None:
    found = []
    for order in (range(count), np.random.default_rng(0).permutation(count)):
        values = samples(count)
        given = Identified([{"x": values[index].numpy()} for index in order])
        seen = HeldOut(2, keep=4, samples=given)
        for sample in given:
            seen.add(torch.from_numpy(sample["x"]))
        found.append(seen.split())
    (channels, held), (other_channels, other_held) = found
    assert len(held) == min(4, count // 2)
    assert all(torch.equal(one, other) for one, other in zip(held, other_held, strict=True))
    assert torch.equal(channels.magnitudes, other_channels.magnitudes)
    kept = {value.numpy().tobytes() for value in held}
    rest = [value for value in samples(count) if value.numpy().tobytes() not in kept]
    assert torch.equal(channels.magnitudes, torch.cat(rest).abs().amax((0, 1)))
