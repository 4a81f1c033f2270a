"""Whether an artifact computes what the program it was compiled from computes.

The program, rewritten and quantized, is run by torch. In floats the artifact may be off by what the precision is
granted against the original, or by ten times the model's noise. In integers a runtime may round a value to the step
beside; what that does to the outputs is found by moving a share of the rounded values at random. A layer that was
compiled wrong is far beyond either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.analysis.accuracy_tracker import is_binary
from edgeopt.candidate.limits import TIMES_NOISE, floor_of
from edgeopt.candidate.stages import Request
from edgeopt.ir.metrics import Arrays, Reference
from edgeopt.ir.program import Program
from edgeopt.ops.quantize import QUANTIZE
from edgeopt.ops.token_linear import ROUND_TOKENS
from edgeopt.records.limits import Limit
from edgeopt.records.outputs import Error

SHARE = 0.25
"""Share of the rounded values that are moved by a step. Runtimes that rescale in float32 or fixed point move fewer."""
MARGIN_DB = 10.0
"""How much stronger than that an error may be: the effect of the steps is known from a few samples only."""
STEPS = 2 / 127
"""Relative error that is always granted beside integers: two steps of the largest value."""
FLOATS = ("fp32", "fp16", "bf16", "fp64")

Judge = Callable[[Program, Arrays, Arrays], float | None]
"""From a program, a sample and an artifact's outputs on it to the relative error, where that is too large."""


@dataclass(frozen=True)
class Fidelity:
    """An output of an artifact against the program's: its error, and the limits, of which one has to hold."""

    output: str
    error: Error
    most: float
    least_db: float

    @property
    def ok(self) -> bool:
        """Whether the error is within what rounding explains."""
        return self.error.relative <= self.most or self.error.sqnr_db >= self.least_db

    def checked(self) -> Limit:
        """Return this as a limit that holds by default: on the SQNR where values are rounded, else on the error."""
        if math.isfinite(self.least_db):
            limit, value = Limit("program-sqnr", "least", "dB", self.least_db), self.error.sqnr_db
        else:
            limit, value = Limit("program-error", "most", "ratio", self.most), self.error.relative
        return replace(limit, is_default=True, output=self.output).judged(value, self.ok)


def check_program(
    program: Program, samples: Sequence[Arrays], outputs: Sequence[Arrays], tolerance: float | None
) -> tuple[Limit, ...]:
    """Hold an artifact's outputs against its program's; return the one that is worst. ``tolerance``: relative error."""
    if tolerance is None:
        return ()
    judged = fidelity(program, samples, outputs, tolerance)
    worst = sorted(judged, key=lambda one: (one.ok, one.error.sqnr_db - min(one.least_db, 1e3)))[:1]
    return tuple(one.checked() for one in worst)


def tolerance_of(program: Program, request: Request, noise: float) -> float | None:
    """Return the relative error that an artifact may have against its program; None where they are not comparable.

    That is where rounding decides signs, or the target rounds in ways that the program does not show. ``noise``: the
    model's own, relative.
    """
    targets = {node.target for node in program.calls}
    precision = request.target_options.precision
    if is_binary(program) or ROUND_TOKENS in targets:
        return None
    if QUANTIZE in targets:
        return max(request.target.golden_bounds.get(precision, 0.0), STEPS, TIMES_NOISE * noise)
    return max(floor_of((precision,)).relative, TIMES_NOISE * noise) if precision in FLOATS else None


def judge_by(tolerance: float) -> Judge:
    """Return what judges programs cut short."""

    def judge(program: Program, sample: Arrays, outputs: Arrays) -> float | None:
        wrong = [one.error.relative for one in fidelity(program, [sample], [outputs], tolerance) if not one.ok]
        return max(wrong, default=None)

    return judge


def fidelity(
    program: Program, samples: Sequence[Arrays], outputs: Sequence[Arrays], tolerance: float
) -> tuple[Fidelity, ...]:
    """Compare the outputs of floats with the program's; others are left to the limits against the original."""
    reference = Reference(tuple(program.run(sample) for sample in samples))
    stepped = _stepped_db(program, samples, reference)
    return tuple(
        Fidelity(one.name, one.error, tolerance, stepped.get(one.name, math.inf) - MARGIN_DB)
        for one in reference.compare(outputs).compared
        if one.error is not None and one.form == "number"
    )


def _stepped_db(program: Program, samples: Sequence[Arrays], reference: Reference) -> Mapping[str, float]:
    """Return by output its SQNR where rounded values are moved; nothing where none are."""
    if not any(node.target is QUANTIZE for node in program.calls):
        return {}
    moved = [_moved(program, sample, seed) for seed, sample in enumerate(samples)]
    return {one.name: one.error.sqnr_db for one in reference.compare(moved).compared if one.error is not None}


def _moved(program: Program, sample: Arrays, seed: int) -> dict[str, np.ndarray]:
    """Run a program with a share of its rounded values a step up or down; inputs are rounded alike everywhere."""
    generator = torch.Generator().manual_seed(seed)

    def move(node: fx.Node, value: Any) -> torch.Tensor | None:
        if node.target is not QUANTIZE or node.all_input_nodes[0].op == "placeholder":
            return None
        drawn = torch.rand(value.shape, generator=generator)
        steps = (drawn < SHARE / 2).to(torch.int64) - (drawn > 1 - SHARE / 2).to(torch.int64)
        limits = torch.iinfo(value.dtype)
        moved: torch.Tensor = value.to(torch.int64) + steps
        return moved.clamp(limits.min, limits.max).to(value.dtype)

    return program.run(sample, move)
