"""Accuracy on labeled samples: the original's and the artifact's, and how often they agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeopt.calib.data import CalibrationData
from edgeopt.errors import UserError
from edgeopt.plugins.target import Arrays
from edgeopt.records.run import Accuracy

Runner = Callable[[Arrays], dict[str, np.ndarray]]


def classes(data: CalibrationData, run: Runner) -> np.ndarray:
    """Return the class of the first output (its largest entry along the last axis) for each sample."""
    return np.array([_top1(next(iter(run(sample).values()))) for sample in data])


def check_labels(labels: np.ndarray, samples: int, scores: Arrays) -> None:
    """Raise UserError where labels are not one a sample, or are no class of the first output in ``scores``."""
    if len(labels) != samples:
        raise UserError(f"the data holds {len(labels)} labels for {samples} samples", "give one label a sample")
    count = next(iter(scores.values())).shape[-1]
    if (wrong := labels[(labels < 0) | (labels >= count)]).size:
        raise UserError(
            f"the data holds the label {wrong[0]}, and the first output has {count} classes",
            f"give labels from 0 to {count - 1}",
        )


def accuracy(labels: np.ndarray, original: np.ndarray, exported: np.ndarray) -> Accuracy:
    """Compare predicted classes with labels and with each other."""
    return Accuracy(
        metric="top-1",
        samples=len(labels),
        original=float(np.mean(original == labels)),
        exported=float(np.mean(exported == labels)),
        agreement=float(np.mean(original == exported)),
    )


def _top1(output: np.ndarray) -> int:
    # A fixed batch holds copies of one sample: its first row speaks for all.
    if output.ndim != 2:
        raise UserError(
            f"accuracy needs an output of shape batch x classes, the first output has rank {output.ndim}",
            "leave out the labels, or make the class scores the first output",
        )
    return int(output[0].argmax())
