"""Run samples through a program and let accumulators see the values of chosen nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Protocol

import torch
from torch import fx

from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program


class Accumulator(Protocol):
    """Takes in the value of one node, sample after sample."""

    def add(self, value: torch.Tensor) -> None:
        """Take in the value that one sample gave."""
        ...


def observe(
    program: Program,
    samples: Iterable[Sample],
    accumulators: Mapping[str, Accumulator],
    skip: int = 0,
    after_each: Callable[[int], None] | None = None,
) -> int:
    """Feed each sample to the program, and the values of the named nodes and inputs to their accumulators.

    The first ``skip`` samples are read but not run. ``after_each(done)`` is called with the number of samples done
    so far, those skipped included. Returns that number.
    """

    def see(node: fx.Node, value: Any) -> None:
        if node.name in accumulators:
            accumulators[node.name].add(value)

    done = skip
    for done, sample in enumerate(islice(samples, skip, None), skip + 1):
        for name in accumulators.keys() & sample.keys():
            accumulators[name].add(torch.from_numpy(sample[name]))
        program.run(sample, see)
        if after_each is not None:
            after_each(done)
    return done


def observable(program: Program) -> dict[str, fx.Node]:
    """Return the inputs and operators whose value is one float32 tensor, by name."""
    nodes = [*program.input_nodes, *program.calls]
    values = {node: node.meta["val"] for node in nodes}
    return {n.name: n for n, v in values.items() if isinstance(v, torch.Tensor) and v.dtype == torch.float32}
