from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.analysis.layers import Layer, input_magnitudes, is_layer, layer_of, output_magnitudes
from edgeopt.passes.quantization.cross_layer_equalization import CrossLayerEqualization
from edgeopt.plugins.testing import assert_pass


def uneven(module: Any) -> Any:
    """Spread the magnitudes of a module's output channels over three decades."""
    with torch.no_grad():
        for layer in module.modules():
            if hasattr(layer, "weight"):
                factors = torch.logspace(-2, 1, layer.weight.shape[0])
                layer.weight.mul_(factors.view(-1, *[1] * (layer.weight.dim() - 1)))
    return module


def chain() -> Any:
    return uneven(
        nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 1, bias=False),
        )
    )


def test_channels_get_the_same_room_on_both_sides() -> None:
    torch.manual_seed(0)
    result = assert_pass(CrossLayerEqualization(), chain(), [torch.randn(1, 3, 9, 9)], changes=True)
    found = [layer_of(result.program, node) for node in result.program.calls if is_layer(node)]
    layers = [layer for layer in found if isinstance(layer, Layer)]
    assert layers == found
    for first, second in pairwise(layers):
        ratio = output_magnitudes(first) / input_magnitudes(second)
        assert torch.all((ratio > 1 / 1.25) & (ratio < 1.25))


def test_linear_layers_without_activation_between() -> None:
    torch.manual_seed(0)
    model = uneven(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)))
    assert_pass(CrossLayerEqualization(), model, [torch.randn(2, 4)], changes=True)


def test_a_channel_without_weight_is_left_alone() -> None:
    torch.manual_seed(0)
    model = chain()
    with torch.no_grad():
        model[0].weight[2] = 0
    assert_pass(CrossLayerEqualization(), model, [torch.randn(1, 3, 9, 9)], changes=True)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = uneven(nn.Linear(4, 4)), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(x))
        return x + self.b(x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = uneven(nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.a(torch.relu(self.a(x)))
        return y


@pytest.mark.parametrize(
    ("module", "reason"), [(Residual(), "neither a linear nor a convolution"), (Tied(), "is shared with")], ids=str
)
def test_refusals(module: Any, reason: Any) -> None:
    result = assert_pass(CrossLayerEqualization(), module, [torch.randn(2, 4)], changes=False)
    assert any(reason in str(note.reason) for note in result.notes)


def test_another_activation_function_is_no_place() -> None:
    model = uneven(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4)))
    assert not assert_pass(CrossLayerEqualization(), model, [torch.randn(2, 4)], changes=False).notes
