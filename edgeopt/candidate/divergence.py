"""Where an artifact begins to differ from the program it was compiled from.

The program is cut short, compiled and run like the whole, and its values are held against torch's. A wrong value is
taken to be wrong at all later cuts, so that bisection finds the first: the logarithm of the number of nodes is how many
compilations it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import fx

from edgeopt.candidate.compile import tried
from edgeopt.candidate.cuts import Cut, cuts_of, first_layer
from edgeopt.candidate.fidelity import Judge
from edgeopt.candidate.stages import Request
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program, op_name
from edgeopt.ir.provenance import module_path, source_line

RunCompiled = Callable[[Program, Sample], Mapping[str, np.ndarray]]
"""Compiles a program, runs it on one sample and returns its outputs by name."""

MOST_COMPILATIONS = 24
"""Cuts that are compiled at most: beside a bisection, those that do not compile."""


@dataclass(frozen=True)
class Divergence:
    """The first node whose value an artifact has wrong.

    ``module``: path of its layer in the user's model; ``line``: the user's source line; empty where not known.
    ``error``: largest absolute difference over the largest absolute value, infinite where one is not finite.
    """

    node: str
    op: str
    module: str
    line: str
    error: float

    def __str__(self) -> str:
        where = f" in {self.module}" if self.module else ""
        return f"{self.node} ({self.op}){where}{self.line}, relative error {self.error:.1e}"


def compiled_for(request: Request) -> RunCompiled:
    """Return what compiles a program for the request's target and runs it there."""

    def run(program: Program, sample: Sample) -> Mapping[str, np.ndarray]:
        with tried(program, request, [sample]) as (_, session):
            return session.run(sample)

    return run


def first_divergence(program: Program, sample: Sample, run: RunCompiled, judge: Judge) -> Divergence | None:
    """Return the first node where what ``run`` returns is wrong, as ``judge`` has it.

    In a quantized program it is the first operator of the layer between two roundings. None where the outputs of the
    whole program agree. Raises what ``run`` raises for the whole program; a shorter one that does not compile is passed
    over.
    """
    cuts = cuts_of(program)
    error = _error(cuts[-1], sample, run, judge)
    if error is None:
        return None
    low, high = -1, len(cuts) - 1
    unusable: set[int] = set()
    for _ in range(MOST_COMPILATIONS):
        untried = [index for index in range(low + 1, high) if index not in unusable]
        if not untried:
            break
        middle = min(untried, key=lambda index: abs(2 * index - low - high))
        try:
            found = _error(cuts[middle], sample, run, judge)
        except Exception:
            unusable.add(middle)  # nobody asked for this program: why it does not compile says nothing
            continue
        low, high, error = (middle, high, error) if found is None else (low, middle, found)
    return _described(first_layer(program, cuts[low].end if low >= 0 else -1, cuts[high].end), error)


def _error(cut: Cut, sample: Sample, run: RunCompiled, judge: Judge) -> float | None:
    """Return the largest relative error of a value at a cut, where it is wrong."""
    program = cut.shortened()
    return judge(program, sample, run(program, sample))


def _described(node: fx.Node, error: float) -> Divergence:
    return Divergence(node.name, op_name(node), module_path(node), source_line(node), error)
