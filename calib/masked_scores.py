"""Scores of attention under a mask: what a softmax makes nothing of has no say in their range.

A mask adds minus infinity, the lowest float, or -10,000. Over a range that holds such values every score that counts
would be the same integer. A softmax gives exp(x - largest of the row), so what lies ``REACH`` below counts as nothing:
there the range ends, and hidden scores are rounded to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from edgeopt.calib.observe import Accumulator
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments

REACH = 12.0
"""Below the largest of a row: exp(-12) is 6e-6, and a thousand of them are one step of eight bits."""
MASKED = 100.0
"""Below the largest score of all, where nothing but a mask puts values: exp(-100) is zero in float32."""


@dataclass(frozen=True)
class Unmasked:
    """Hands scores on to ``accumulator``, hidden ones at the end of the reach; the softmax is over ``dim``."""

    accumulator: Accumulator
    dim: int

    def add(self, value: torch.Tensor) -> None:
        """Take in the scores that one sample gave."""
        self.accumulator.add(unmasked(value, self.dim))


def unmasked(scores: torch.Tensor, dim: int) -> torch.Tensor:
    """Return ``scores`` [...] with those that a mask hides raised to the end of the reach; rows that are hidden
    altogether, too. Scores without a mask are returned as they are."""
    if not scores.numel() or not bool((top := scores.max()).isfinite()) or bool(scores.min() >= top - MASKED):
        return scores
    highest = scores.amax(dim, keepdim=True).clamp(min=top - MASKED)
    return torch.maximum(scores, highest - REACH)


def without_masks(program: Program, accumulators: Mapping[str, Accumulator]) -> dict[str, Accumulator]:
    """Return the accumulators, those of values that softmaxes alone read behind ``Unmasked``."""
    found = dict(accumulators)
    for node in program.calls:
        readers = tuple(node.users)
        if node.name in found and readers and all(reader.target is aten.softmax.int for reader in readers):
            found[node.name] = Unmasked(found[node.name], arguments(readers[0])["dim"])
    return found
