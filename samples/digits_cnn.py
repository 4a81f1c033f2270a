"""Train a small CNN with batch normalization on handwritten digits, and save it for edgeopt.

Run ``python -m samples.digits_cnn``, then ``edgeopt export demo/digits_cnn/model.pt2 --data demo/digits_cnn/eval.npz``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from samples import digits


class DigitsCnn(nn.Module):
    """Three convolutions with batch normalization, then average pooling and a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(1, 32),
            *_block(32, 32),
            nn.MaxPool2d(2),
            *_block(32, 64),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


def _block(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU()


def main(folder: Path) -> float:
    """Train, save into ``folder``, and return the accuracy on held-out digits."""
    torch.manual_seed(0)
    data, model = digits.load(), DigitsCnn()
    digits.train(model, data, epochs=15, learning_rate=1e-2)
    digits.save(model, data, folder)
    return digits.accuracy(model, data)


if __name__ == "__main__":
    output = digits.output_folder("demo/digits_cnn", __doc__)
    print(f"{output / 'model.pt2'}: {main(output):.1%} of held-out digits right")
