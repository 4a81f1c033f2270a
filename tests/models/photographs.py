"""Real images without a download: random crops of the photographs that scikit-learn carries."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def crops(count: int, size: int, seed: int) -> np.ndarray:
    """Return ``count`` RGB crops (float32, N x 3 x size x size, 0..255), of random place and scale."""
    generator = np.random.default_rng(seed)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    return np.stack([_crop(photographs[index % 2], size, generator) for index in range(count)])


def _crop(photograph: Image.Image, size: int, generator: np.random.Generator) -> np.ndarray:
    edge = int(generator.integers(size, min(photograph.size)))
    left, top = (int(generator.integers(0, full - edge + 1)) for full in photograph.size)
    part = photograph.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + edge, top + edge))
    return np.asarray(part, np.float32).transpose(2, 0, 1)
