"""The accuracy tracker: the error of a program against the original, on the same verification inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.analysis.noise import Noise, noise_of
from edgeopt.ir.metrics import Arrays, Reference, Sample, compare
from edgeopt.ir.program import Program, origin, to_numpy
from edgeopt.ops.operator import operator_of
from edgeopt.ops.opsets import AT_LEAST, AT_MOST
from edgeopt.records.outputs import EQUAL, Error

EXACT_BOUND = 1e-5
"""Largest relative change of the outputs, in float32, that a pass labeled exact may cause."""

_DECISIONS = frozenset({torch.ops.aten.sign.default, *AT_LEAST, *AT_MOST})


class AccuracyTracker:
    """Holds the verification inputs and the original's outputs.

    ``drift`` is by output the relative error of the program measured last against the one measured before it.
    """

    def __init__(self, original: Program, samples: Sequence[Sample], reference: Reference | None = None) -> None:
        """``reference``: the original's outputs, where more is known of them (see edgeopt.analysis.reference)."""
        self.original = original
        self.samples = tuple(samples)
        self.reference = reference or Reference(tuple(original.run(sample) for sample in self.samples))
        self.drift: Mapping[str, float] = dict.fromkeys(original.output_names, 0.0)
        self._last, self._measured = self.reference, original.fingerprint()

    @cached_property
    def noise(self) -> Noise:
        """What rounding alone does to the original's outputs, on the first sample and those of extreme values."""
        sizes = [_magnitude(sample) for sample in self.samples]
        chosen = {0, int(np.argmax(sizes)), int(np.argmin(sizes))}
        return noise_of(self.original, [self.samples[index] for index in sorted(chosen)])

    def measure(self, program: Program) -> Error | None:
        """Return the error of ``program`` against the original over all verification inputs.

        It is that of the output in which each figure is worst; None where no output can be compared.
        """
        # Most passes of a pipeline find nothing to do; running the model anew is what costs.
        is_known = program.fingerprint() == self._measured
        outputs = self._last.outputs if is_known else tuple(program.run(sample) for sample in self.samples)
        self._measured = program.fingerprint()
        self.drift = changes(self._last, outputs)
        self._last = replace(self.reference, outputs=outputs)
        return self.reference.compare(outputs).worst

    def stepwise(self, before: Program, after: Program) -> Error:
        """Return the largest error of a node of ``after``, each computed from what ``before`` has at its inputs.

        That is how programs are compared whose signs are decided by rounding where a value is next to zero: one sign
        that turns moves the outputs however exact all nodes are.
        """
        errors = [EQUAL]
        for sample in self.samples:
            expected: dict[str, np.ndarray] = {}

            def judge(node: fx.Node, value: Any, expected: dict[str, np.ndarray] = expected) -> torch.Tensor | None:
                reference = expected.get(origin(node))
                if reference is None or not isinstance(value, torch.Tensor) or tuple(value.shape) != reference.shape:
                    return None
                errors.append(compare({"": reference}, {"": to_numpy(value)}))
                return torch.from_numpy(reference).to(value.dtype)

            outputs = before.run(sample, _keeping(expected))
            errors.append(compare(outputs, after.run(sample, judge)))
        return max(errors, key=lambda error: error.relative)

    def first_divergence(self, before: Program, after: Program) -> str:
        """Return the first node of ``after`` whose value leaves the bound, with its error.

        Nodes correspond by origin: a rewritten one stands for the node it replaced.
        """
        sample = self.samples[0]
        expected: dict[str, np.ndarray] = {}
        found: list[str] = []

        def judge(node: fx.Node, value: Any) -> None:
            reference = expected.get(origin(node))
            if found or reference is None or tuple(value.shape) != reference.shape:
                return
            error = compare({"": reference}, {"": to_numpy(value)})
            if not error.relative <= EXACT_BOUND:
                found.append(f"{node.name} (relative error {error.relative:.2e})")

        before.run(sample, _keeping(expected))
        after.run(sample, judge)
        return found[0] if found else "the output (no common node diverges before it)"


def changes(reference: Reference, outputs: Sequence[Arrays]) -> dict[str, float]:
    """Return by output that can be compared the relative error over all samples."""
    compared = reference.compare(outputs).compared
    return {output.name: output.error.relative for output in compared if output.error is not None}


def _magnitude(sample: Arrays) -> float:
    """Return the largest absolute value of a sample's finite floats."""
    floats = (array[np.isfinite(array)] for array in sample.values() if array.dtype.kind == "f")
    return max((float(np.abs(array).max(initial=0.0)) for array in floats), default=0.0)


def decides(program: Program) -> bool:
    """Return whether a program takes signs or compares with numbers: there, rounding may decide."""
    return is_binary(program) or any(node.target in _DECISIONS for node in program.calls)


def is_binary(program: Program) -> bool:
    """Return whether a program computes with the signs of values alone somewhere: a binary network, or one that hashes.

    A sign beside numbers, as of ``torch.sign``, does not make it one.
    """
    found = [operator_of(node.target) for node in program.calls]
    return any(operator.is_discontinuous for operator in found if operator is not None)


def _keeping(values: dict[str, np.ndarray]) -> Callable[[fx.Node, Any], None]:
    """Return the observer that keeps every tensor by its label."""

    def keep(node: fx.Node, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            values[origin(node)] = to_numpy(value)

    return keep
