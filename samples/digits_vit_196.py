"""Train a vision transformer of 196 tokens on handwritten digits enlarged to 28x28 pixels, and save it for edgeopt.

Run ``python -m samples.digits_vit_196`` (about twenty minutes on one core), then let its norms and its attention be
replaced: ``edgeopt export demo/digits_vit_196/model.pt2 --recipe slab --tune-data demo/digits_vit_196/tune.npz``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from samples import digits
from samples.digits_vit import DigitsVit

SIDE = 28
VARIANTS = 4
"""Moved copies of each training image among the images to tune on."""


def build(patch: int = 2, depth: int = 3) -> DigitsVit:
    """Return the untrained model; patches of 2x2 pixels make 196 tokens, of 4x4 49, of one 784."""
    return DigitsVit(SIDE, patch, width=64, heads=2, depth=depth)


def main(folder: Path, epochs: int = 100, patch: int = 2, depth: int = 3, learning_rate: float = 1.5e-3) -> float:
    """Train, save into ``folder``, and return the accuracy on held-out digits.

    ``tune.npz`` beside the model holds moved training images without labels, to tune what takes its layers' place.
    """
    torch.manual_seed(0)
    small, model = digits.load(), build(patch, depth)
    digits.train(model, small, epochs, learning_rate, augment=partial(digits.moved, side=SIDE), batch=32)
    large = digits.enlarged(small, SIDE)
    digits.save(model, large, folder)
    moved = torch.cat([large.train_images, *(digits.moved(small.train_images, SIDE) for _ in range(VARIANTS))])
    np.savez(folder / "tune.npz", images=moved[torch.randperm(len(moved))].numpy())
    return digits.accuracy(model, large)


if __name__ == "__main__":
    output = digits.output_folder("demo/digits_vit_196", __doc__)
    print(f"{output / 'model.pt2'}: {main(output):.1%} of held-out digits right")
