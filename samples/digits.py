"""What the digits samples share: scikit-learn's 1,797 handwritten 8x8 digits, training, and the files left behind."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

MAX_BATCH = 512
NOISE = 0.1
"""Standard deviation of the noise added to pixels in training, against overfitting on 1,347 images."""
TURN, STRETCH, SHIFT = 0.2, 0.12, 0.1
"""Most that ``moved`` turns (radians), stretches and shifts (parts of the image)."""

Augment = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Digits:
    """Images (float32, Nx1x8x8, 0..1) and labels (int64, N), a quarter of them held out."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def noisy(images: torch.Tensor) -> torch.Tensor:
    """Return images with noise on their pixels."""
    return images + NOISE * torch.randn_like(images)


def load() -> Digits:
    """Return the digits, always split alike, every class in equal shares."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    parts = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = (torch.from_numpy(part) for part in parts)
    return Digits(train_images, train_labels, test_images, test_labels)


def enlarged(digits: Digits, side: int) -> Digits:
    """Return the digits with images of ``side`` x ``side`` pixels."""
    images = (moved(part, side, amount=0.0) for part in (digits.train_images, digits.test_images))
    train_images, test_images = images
    return replace(digits, train_images=train_images, test_images=test_images)


def moved(images: torch.Tensor, side: int, amount: float = 1.0) -> torch.Tensor:
    """Return images turned, stretched and shifted at random, in ``side`` x ``side`` pixels; black beyond the border."""
    by = torch.tensor([TURN, STRETCH, STRETCH, SHIFT, SHIFT])
    angle, wide, high, right, down = (amount * by * (2 * torch.rand(len(images), 5) - 1)).unbind(1)
    across = torch.stack([angle.cos() * (1 + wide), -angle.sin(), 2 * right], 1)
    along = torch.stack([angle.sin(), angle.cos() * (1 + high), 2 * down], 1)
    grid = functional.affine_grid(torch.stack([across, along], 1), [len(images), 1, side, side], align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(
    model: nn.Module,
    digits: Digits,
    epochs: int,
    learning_rate: float,
    augment: Augment = noisy,
    batch: int = 64,
) -> None:
    """Train with AdamW, a one-cycle schedule and augmented images; leave the model in evaluation mode."""
    torch.set_num_threads(1)  # tensors this small only make threads wait for each other
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.05)
    count = len(digits.train_labels)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * -(-count // batch))
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(count).split(batch):
            images = digits.train_images[chosen]
            logits = model(augment(images))
            loss = functional.cross_entropy(logits, digits.train_labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


def accuracy(model: nn.Module, digits: Digits) -> float:
    """Return the share of held-out digits that the model gets right."""
    with torch.no_grad():
        found: float = (model(digits.test_images).argmax(1) == digits.test_labels).float().mean().item()
        return found


def save(model: nn.Module, digits: Digits, folder: Path) -> None:
    """Write ``model.pt2`` (any batch up to 512), ``eval.npz`` (held-out ``images``, ``labels``) and ``calib.npz``.

    The last holds 200 training images, to calibrate INT8 on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batch = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}
    # A batch of one would be traced as a constant, so two are traced; one is left behind as the example.
    exported = torch.export.export(model, (digits.test_images[:2],), dynamic_shapes=(batch,))
    exported.example_inputs = ((digits.test_images[:1],), {})
    torch.export.save(exported, folder / "model.pt2")
    np.savez(folder / "calib.npz", images=digits.train_images[:200].numpy())
    np.savez(folder / "eval.npz", images=digits.test_images.numpy(), labels=digits.test_labels.numpy())


def output_folder(default: str, description: str | None) -> Path:
    """Parse the command line of a sample: its only option is where to write."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=Path(default), help="folder for model.pt2 and eval.npz")
    found: Path = parser.parse_args().output
    return found
