from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.passes.exact.fold_batch_norm import FoldBatchNorm
from edgeopt.plugins.testing import assert_pass, to_program
from tests.passes.builders import Branches, Call, ops, randomized, reasons

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
VARIANTS = 8

NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def fold(module: nn.Module, *inputs: torch.Tensor, changes: bool = True, bound: float = 1e-5) -> Any:
    return assert_pass(FoldBatchNorm(), randomized(module), inputs, changes=changes, bound=bound)


def image(rank: int, channels: int = 4) -> torch.Tensor:
    return torch.randn(2, channels, *(7, 6, 5)[:rank])


def convolutions(rank: int, padding: tuple[int, ...]) -> list[nn.Module]:
    options = list(product((1, 2), padding, (1, 2), (1, 2), (True, False)))
    chosen = random.Random(rank).sample(options, VARIANTS)
    return [CONVS[rank](4, 6, 2, stride, pad, dilation, groups, bias) for stride, pad, dilation, groups, bias in chosen]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolution_then_norm(rank: int) -> None:
    variants = [nn.Sequential(conv, NORMS[rank](6)) for conv in convolutions(rank, padding=(0, 1))]
    result = fold(Branches(*variants).double(), image(rank).double(), bound=1e-10)
    assert ops(result) == [f"conv{rank}d"] * VARIANTS


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolution_then_norm(rank: int) -> None:
    options = random.Random(rank).sample(list(product((0, 1), (0, 1), (1, 2), (True, False))), VARIANTS)
    variants = [
        nn.Sequential(TRANSPOSED[rank](4, 6, 3, 2, padding, output_padding, groups, bias, dilation=2), NORMS[rank](6))
        for padding, output_padding, groups, bias in options
    ]
    result = fold(Branches(*variants).double(), image(rank).double(), bound=1e-10)
    assert len(ops(result)) == VARIANTS and all(name.startswith(f"conv_transpose{rank}d") for name in ops(result))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_norm_then_convolution_without_padding(rank: int) -> None:
    variants = [nn.Sequential(NORMS[rank](4), conv) for conv in convolutions(rank, padding=(0,))]
    result = fold(Branches(*variants).double(), image(rank).double(), bound=1e-10)
    assert ops(result) == [f"conv{rank}d"] * VARIANTS


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_then_norm(affine: bool, bias: bool) -> None:
    module = nn.Sequential(nn.Linear(5, 4, bias), nn.BatchNorm1d(4, affine=affine))
    result = fold(module, torch.randn(3, 5))
    weight, bias_name = ("_0_weight_1", "_0_bias_1") if bias else ("_0_weight_1", "_0_bias")
    assert result.program.text() == (
        f"constant {weight}:4x5:float32\n"
        f"constant {bias_name}:4:float32\n"
        "input input:3x5:float32\n"
        f"linear_1 = aten.linear(%input, %{weight}, %{bias_name})\n"
        "return [%linear_1]\n"
    )


def test_norm_then_several_layers() -> None:
    def branch(m: Call, x: torch.Tensor) -> torch.Tensor:
        y = m.norm(x)
        return m.a(y) + m.b(y)

    module = Call(branch, norm=nn.BatchNorm2d(4), a=nn.Conv2d(4, 3, 1), b=nn.Conv2d(4, 3, 1, bias=False))
    assert ops(fold(module, image(2))) == ["conv2d", "conv2d", "add.Tensor"]


def test_norm_then_linear_on_vectors() -> None:
    assert ops(fold(nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 4)), torch.randn(3, 5))) == ["linear"]


def unshifted(m: Call, x: torch.Tensor) -> torch.Tensor:
    return m.conv(nn.functional.batch_norm(x, m.zero, m.var, m.scale))


@pytest.mark.parametrize("conv", [nn.Conv2d(4, 6, 3, padding=1), nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2)])
def test_scale_alone_goes_through_zero_padding(conv: nn.Module) -> None:
    module = Call(unshifted, conv=conv, zero=torch.zeros(4), var=torch.rand(4) + 0.5, scale=torch.rand(4))
    assert len(ops(assert_pass(FoldBatchNorm(), module, (image(2),), changes=True))) == 1


def test_permuted_channels_are_followed() -> None:
    module = Call(lambda m, x: m.norm(m.linear(x).transpose(1, 2)), linear=nn.Linear(5, 4), norm=nn.BatchNorm1d(4))
    result = fold(module, torch.randn(2, 3, 5))
    assert ops(result) == ["linear", "permute"]


def test_dynamic_batch() -> None:
    module = randomized(nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)))
    batch = torch.export.Dim("batch", min=1, max=8)
    program = to_program(module, (image(2),), ({0: batch},))
    assert ops(assert_pass(FoldBatchNorm(), program, (torch.randn(5, 4, 7, 6),), changes=True)) == ["conv2d"]


def shared_convolution(m: Call, x: torch.Tensor) -> torch.Tensor:
    return m.norm(m.conv(x)) + m.conv(x + 1)


def read_twice(m: Call, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return m.norm(y) * y


def batch_statistics(m: Call, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.batch_norm(m.conv(x), None, None, training=True)


def computed_scale(m: Call, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return nn.functional.batch_norm(y, m.norm.running_mean, m.norm.running_var, y.mean((0, 2, 3)))


def norm_then_padding(m: Call, x: torch.Tensor) -> torch.Tensor:
    return m.norm(nn.functional.pad(m.conv(x), (1, 1)))


REFUSALS: list[tuple[Callable[..., torch.Tensor], str]] = [
    (shared_convolution, "is shared with conv2d_1"),
    (read_twice, "conv2d (aten.conv2d) is also read by mul"),
    (batch_statistics, "by the statistics of the batch"),
    (computed_scale, "its weight are computed at run time"),
    (norm_then_padding, "pad (aten.pad) pads with 0"),
    (lambda m, x: m.norm(torch.relu(m.conv(x))), "relu (aten.relu) is neither a linear nor a convolution"),
    (lambda m, x: m.norm(x), "batch_norm (aten.batch_norm) is an output of the model"),
    (lambda m, x: m.padded(m.dead(x)), "pads with zeros, and the shift of batch_norm is not zero"),
    (lambda m, x: m.conv(m.norm(x)).relu() + m.norm(x), "add (aten.add.Tensor) is neither a linear nor a convolution"),
    (lambda m, x: torch.conv2d(x, x[:, :, :2, :2]) + m.norm(torch.conv2d(x, x[:4])).sum(), "computed at run time"),
]


@pytest.mark.parametrize(("function", "reason"), REFUSALS)
def test_refusals(function: Callable[..., torch.Tensor], reason: str) -> None:
    module = Call(
        function,
        conv=nn.Conv2d(4, 4, 1),
        norm=nn.BatchNorm2d(4),
        padded=nn.Conv2d(4, 3, 3, padding=1),
        dead=nn.BatchNorm2d(4),
    )
    randomized(module).dead.weight.data[1] = 0
    x = torch.randn(4, 4, 7, 6)
    result = assert_pass(FoldBatchNorm(), module, (x,))
    assert any(reason in found for found in reasons(result)), reasons(result)


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 3, 3, padding=1), nn.ConvTranspose2d(4, 3, 2)])
def test_shift_stays_before_padding(layer: nn.Module) -> None:
    result = fold(nn.Sequential(nn.BatchNorm2d(4), layer), image(2), changes=True)
    assert ops(result)[0] == "add.Tensor" and "batch_norm" not in ops(result)


def test_refuses_other_axis() -> None:
    module = Call(lambda m, x: m.norm(m.linear(x)), linear=nn.Linear(5, 4), norm=nn.BatchNorm1d(3))
    result = fold(module, torch.randn(2, 3, 5), changes=False)
    assert "the channels of linear (aten.linear) are axis 2 there, those of batch_norm 1" in reasons(result)[0]


def test_refuses_other_axis_after() -> None:
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(5, 4))
    result = fold(module, torch.randn(2, 3, 5), changes=False)
    assert "the input channels of linear (aten.linear) are axis 2, those of batch_norm 1" in reasons(result)[0]


def test_refuses_sixteen_bits() -> None:
    module = nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)).bfloat16()
    result = fold(module, image(2).bfloat16(), changes=False)
    assert "is bfloat16, which would round the product" in reasons(result)[0]


def test_refuses_channels_broken_up() -> None:
    module = Call(lambda m, x: m.norm(m.linear(x).reshape(2, 6, 2)), linear=nn.Linear(5, 4), norm=nn.BatchNorm1d(6))
    result = fold(module, torch.randn(2, 3, 5), changes=False)
    assert "reshape (aten.reshape) breaks up the channel axis" in reasons(result)[0]
