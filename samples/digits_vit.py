"""Train a small vision transformer (pre-LayerNorm) on handwritten digits, and save it for edgeopt.

Run ``python -m samples.digits_vit``, then ``edgeopt export demo/digits_vit/model.pt2 --data demo/digits_vit/eval.npz``.
Architecture: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), with mean pooling instead of a class token.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from samples import digits


class Attention(nn.Module):
    """Multi-head self-attention over N x tokens x width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-LayerNorm transformer block: attention, then a GELU network, each on a residual branch."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * width
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class DigitsVit(nn.Module):
    """Square patches of an image of ``side`` pixels, blocks, mean over the patches, a linear classifier."""

    def __init__(
        self,
        side: int = 8,
        patch: int = 2,
        width: int = 48,
        heads: int = 4,
        depth: int = 3,
        expansion: int = 2,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.position = nn.Parameter(torch.randn(1, (side // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, expansion) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.position
        return self.classifier(self.norm(self.blocks(tokens)).mean(1))


def main(folder: Path) -> float:
    """Train, save into ``folder``, and return the accuracy on held-out digits."""
    torch.manual_seed(0)
    data, model = digits.load(), DigitsVit()
    digits.train(model, data, epochs=30, learning_rate=2e-3)
    digits.save(model, data, folder)
    return digits.accuracy(model, data)


if __name__ == "__main__":
    output = digits.output_folder("demo/digits_vit", __doc__)
    print(f"{output / 'model.pt2'}: {main(output):.1%} of held-out digits right")
