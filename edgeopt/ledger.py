"""The accuracy ledger: the error of a program against the original, on the same verification inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.compare import Error, ErrorSum, compare
from edgeopt.program import Program, origin, to_numpy

EXACT_BOUND = 1e-5
"""Largest relative change of the outputs, in float32, that a pass labelled exact may cause."""

Sample = dict[str, np.ndarray]


class Ledger:
    """Holds the verification inputs and the original's outputs.

    ``drift`` is the error of the program measured last against the one measured before it.
    """

    def __init__(self, original: Program, samples: Sequence[Sample]) -> None:
        self.samples = tuple(samples)
        self.reference = tuple(original.run(sample) for sample in self.samples)
        self.drift = Error(0.0, 0.0, float("inf"), 1.0)
        self._last = self.reference

    def measure(self, program: Program) -> Error:
        """Return the error of ``program`` against the original over all verification inputs."""
        outputs = tuple(program.run(sample) for sample in self.samples)
        self.drift = _total(self._last, outputs)
        self._last = outputs
        return _total(self.reference, outputs)

    def first_divergence(self, before: Program, after: Program) -> str:
        """Return the first node of ``after`` whose value leaves the bound, with its error.

        Nodes correspond by origin: a rewritten one stands for the node it replaced.
        """
        sample = self.samples[0]
        expected: dict[str, np.ndarray] = {}
        found: list[str] = []

        def keep(node: fx.Node, value: Any) -> None:
            if isinstance(value, torch.Tensor):
                expected[origin(node)] = to_numpy(value)

        def judge(node: fx.Node, value: Any) -> None:
            reference = expected.get(origin(node))
            if found or reference is None or tuple(value.shape) != reference.shape:
                return
            error = compare({"": reference}, {"": to_numpy(value)})
            if not error.relative <= EXACT_BOUND:
                found.append(f"{node.name} (relative error {error.relative:.2e})")

        before.run(sample, keep)
        after.run(sample, judge)
        return found[0] if found else "the output (no common node diverges before it)"


def _total(reference: Sequence[Sample], outputs: Sequence[Sample]) -> Error:
    total = ErrorSum()
    for expected, got in zip(reference, outputs, strict=True):
        total.add(expected, got)
    return total.result()
