"""Expected classes beside the samples, where their file holds them: their cross-entropy joins the distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from edgeopt.calib.data import LABELS
from edgeopt.distill.batches import Values
from edgeopt.errors import UserError
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program


def with_labels(program: Program, samples: Sequence[Sample], labels: np.ndarray | None) -> list[Sample]:
    """Return the samples with the class of each, an integer a row of its batch.

    Raises UserError where there are no labels, or where they are no classes of the model's first output.
    """
    if labels is None:
        raise UserError("the recipe learns from labels too, and the samples hold none", f"add an array '{LABELS}'")
    output = program.outputs[0]
    classes = output.shape[-1]
    if len(output.shape) != 2 or not isinstance(classes, int) or not output.dtype.is_floating_point:
        raise UserError(f"labels are classes, and the first output is {output}", "leave out label-part in the recipe")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) < len(samples):
        shape = "x".join(map(str, labels.shape))
        raise UserError(
            f"labels of {labels.dtype} {shape} for {len(samples)} samples", "give one integer a sample, its class"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise UserError(f"labels from {labels.min()} to {labels.max()} for {classes} classes", "count classes from 0")
    return [
        {**sample, LABELS: np.full(len(next(iter(sample.values()))), label)}
        for sample, label in zip(samples, labels, strict=False)
    ]


def cross_entropy(outputs: Values, batch: Values) -> torch.Tensor:
    """Return the mean cross-entropy of the first output, which are logits, with the labels of a batch."""
    return functional.cross_entropy(next(iter(outputs.values())), batch[LABELS].long())
