"""Structure, numerics, each refusal; that a second run changes nothing is part of ``assert_pass``."""

import pytest
import torch
from edgeopt_fold_padding import FoldPadding
from torch import nn
from torch.nn import functional

from edgeopt.ir.program import op_name
from edgeopt.plugins.testing import assert_pass

IMAGE = torch.linspace(-1, 1, 2 * 3 * 9 * 7).reshape(2, 3, 9, 7)


@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
@pytest.mark.parametrize("stride", [1, 2])
def test_moves_into_a_convolution(padding: int | tuple[int, int], stride: int) -> None:
    conv = nn.Conv2d(3, 4, 3, stride=stride, padding=padding)
    result = assert_pass(FoldPadding(), nn.Sequential(nn.ZeroPad2d((2, 2, 1, 1)), conv), [IMAGE], changes=True)
    assert [op_name(node) for node in result.program.calls] == ["aten.conv2d"]


def test_keeps_groups_and_dilation() -> None:
    conv = nn.Conv2d(3, 6, 3, groups=3, dilation=2, bias=False)
    assert_pass(FoldPadding(), nn.Sequential(nn.ZeroPad2d(2), conv), [IMAGE], changes=True)


def test_pads_only_the_last_axis() -> None:
    model = nn.Sequential(nn.ZeroPad2d((1, 1, 0, 0)), nn.Conv2d(3, 4, 3))
    assert_pass(FoldPadding(), model, [IMAGE], changes=True)


def test_moves_into_a_convolution_over_time() -> None:
    model = nn.Sequential(nn.ConstantPad1d(2, 0.0), nn.Conv1d(3, 4, 3))
    assert_pass(FoldPadding(), model, [IMAGE[:, :, 0]], changes=True)


class PadAndConv(nn.Module):
    """Pads as told, convolves, and may return the padded image too."""

    def __init__(self, pad: list[int], mode: str = "constant", value: float | None = None, share: bool = False) -> None:
        super().__init__()
        self.pad, self.mode, self.value, self.share = pad, mode, value, share
        channels = 3 + sum(pad[4:])
        self.conv = nn.Conv2d(channels, 4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        padded = functional.pad(x, self.pad, self.mode, self.value)
        return (self.conv(padded), padded * 2) if self.share else (self.conv(padded),)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (PadAndConv([0, 1, 0, 1]), "pads [0, 0] before and [1, 1] after"),
        (PadAndConv([1, 1, 1, 1], "reflect"), "pads in mode 'reflect'"),
        (PadAndConv([1, 1, 1, 1], value=0.5), "pads with 0.5, not with zeros"),
        (PadAndConv([1, 1, 1, 1, 1, 1]), "also pads the channels or the batch"),
        (PadAndConv([-1, -1, -1, -1]), "crops"),
        (PadAndConv([1, 1, 1, 1], share=True), "is also read by"),
    ],
)
def test_refuses(model: nn.Module, reason: str) -> None:
    result = assert_pass(FoldPadding(), model, [IMAGE], changes=False)
    (note,) = result.notes
    assert reason in str(note.reason)
