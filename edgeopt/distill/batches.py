"""Samples as a step of tuning takes them: some held out, the others joined along the first axis."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgeopt.errors import UserError
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program

Values = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples joined along the first axis, by input. It is a key: what is known of a batch is kept by the batch."""

    values: Values


HELD_OUT_MOST = 64
_HELD_OUT = 8
"""One sample in so many decides, and is not trained on."""


def split(samples: Iterable[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Return the samples to train on and those held out: one in eight, spread evenly, and 64 at most.

    Raises UserError where there are fewer than two.
    """
    found = list(samples)
    if len(found) < 2:
        raise UserError(f"{len(found)} samples to tune on", "give two at least; one is held out")
    every = max(min(_HELD_OUT, len(found)), -(-len(found) // HELD_OUT_MOST))
    return [s for i, s in enumerate(found, 1) if i % every], found[every - 1 :: every]


def joined(program: Program, samples: Sequence[Sample], size: int) -> list[Batch]:
    """Return batches of up to ``size`` samples of equal shapes; of one where the model's batch is fixed."""
    size = min(size, _largest_batch(program))
    by_shape: dict[Hashable, list[Sample]] = {}
    for sample in samples:
        by_shape.setdefault(tuple((name, array.shape[1:]) for name, array in sample.items()), []).append(sample)
    return [
        Batch({name: torch.from_numpy(np.concatenate([s[name] for s in alike[at : at + size]])) for name in alike[at]})
        for alike in by_shape.values()
        for at in range(0, len(alike), size)
    ]


def _largest_batch(program: Program) -> int:
    """Return how many samples one evaluation takes: one, unless every input has the same dynamic first axis."""
    firsts = {spec.shape[0] if spec.shape else 1 for spec in program.inputs}
    if len(firsts) != 1 or isinstance(first := firsts.pop(), int):
        return 1
    bounds = {str(symbol): bound for symbol, bound in program.range_constraints.items()}
    return int(bounds[first].upper) if first in bounds else 2**31
