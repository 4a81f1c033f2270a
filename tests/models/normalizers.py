"""The normalizers of the field as their authors write them, to put into models that have LayerNorms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class RepBN(nn.Module):
    """Guo et al., SLAB, ICML 2024: a batch norm of the tokens, and the input with one learned factor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(1) + 0.5)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(1, -2).transpose(1, 2)
        return (self.bn(tokens) + self.alpha * tokens).transpose(1, 2).reshape(x.shape)


class RepBNInside(RepBN):
    """The same with the permutes around the batch norm alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.alpha * x + self.bn(x.transpose(1, 2)).transpose(1, 2)


class PRepBN(nn.Module):
    """The same blended with a LayerNorm, lambda of it, as a model in mid-schedule is traced."""

    def __init__(self, channels: int, blend: float = 0.0) -> None:
        super().__init__()
        self.norm, self.rep = nn.LayerNorm(channels), RepBNInside(channels)
        self.blend = nn.Buffer(torch.tensor(blend))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blend * self.norm(x) + (1 - self.blend) * self.rep(x)


class UN(nn.Module):
    """Yang et al., Unified Normalization, ACM MM 2022: a stored second moment a channel, and no mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.running_var = nn.Buffer(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x / (self.running_var + 1e-5).sqrt()) + self.bias


class DyT(nn.Module):
    """Zhu et al., Transformers without Normalization, CVPR 2025."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([0.5]))
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.alpha * x) * self.weight + self.bias


class BHyT(nn.Module):
    """Bounded hyperbolic tangent: of the value over its root mean square, at a learned slope."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(2.0))
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spread = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * torch.tanh(self.slope / 10 * (x * spread))


class WrittenRms(nn.Module):
    """RMSNorm as language models write it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Scaled(nn.Module):
    """Sun et al., The Curse of Depth, 2025: a norm's output over the root of its layer's number."""

    def __init__(self, channels: int, depth: int = 3) -> None:
        super().__init__()
        self.norm, self.factor = nn.LayerNorm(channels), depth**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.norm(x) * self.factor
        return y


NORMALIZERS: dict[str, Callable[[int], nn.Module]] = {
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
    "written rms": WrittenRms,
    "scaled": Scaled,
    "RepBN": RepBN,
    "PRepBN": PRepBN,
    "UN": UN,
    "DyT": DyT,
    "BHyT": BHyT,
}
AFFINE = ("RepBN", "PRepBN", "UN")
"""Those that divide by nothing that depends on the input."""


def with_normalizer(model: nn.Module, name: str) -> nn.Module:
    """Put a normalizer in the place of every LayerNorm of a model."""
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.LayerNorm):
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, NORMALIZERS[name](module.normalized_shape[0]))
    return model
