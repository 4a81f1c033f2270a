"""Runs the program in torch in double precision: what is left as error is the rounding of the float32 original.

It is the reference target with weights and inputs widened when the artifact is opened, and outputs narrowed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import fx

from edgeopt.errors import Placement
from edgeopt.frontend.load import load
from edgeopt.ir.pass_base import Step
from edgeopt.ir.program import Program, op_name
from edgeopt.plugins.target import Arrays, Lowered, Session, TargetOptions
from edgeopt.records.layers import Layer
from edgeopt.targets.reference import FILE, Reference


@dataclass(frozen=True)
class Options(TargetOptions):
    """Double precision, and nothing else."""

    precision: str = "fp64"


class Float64(Reference):
    """The program without any pass, in double precision."""

    name = "float64"
    Options = Options  # type: ignore[assignment]  # the reference has options of its own, none of which is here
    precisions = ("fp64",)
    golden_bounds = {"fp64": 1e-6}

    def pipeline(self, options: TargetOptions) -> Sequence[Step]:
        """No pass: the original is what is asked about."""
        return ()

    def lower(self, program: Program, options: TargetOptions) -> Lowered:
        """Refuse nodes that name a narrower floating dtype: widening their inputs would not widen their result."""
        narrow = [
            Placement(node.name, op_name(node), f"it asks for {dtype}")
            for node in program.calls
            if (dtype := _narrow_dtype(node)) is not None
        ]
        return Lowered(program, tuple(narrow))

    def open(self, folder: Path, options: TargetOptions) -> Session:
        """Load the archive and widen its weights."""
        program = load(folder / FILE).program
        constants = {name: t.double() if t.is_floating_point() else t for name, t in program.constants.items()}
        return Float64Session(replace(program, constants=constants))


class Float64Session(Session):
    """Evaluates a widened program in torch."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one inference; inputs and outputs by name, in the original's dtypes."""
        wide = {name: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x for name, x in inputs.items()}
        outputs = self.program.run(wide)
        return {name: y.astype(np.float32) if y.dtype == np.float64 else y for name, y in outputs.items()}

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return each node; this target does not time them."""
        return tuple(Layer(node.name, op_name(node), "fp64") for node in self.program.calls)


def _narrow_dtype(node: fx.Node) -> torch.dtype | None:
    named = (value for value in (*node.args, *node.kwargs.values()) if isinstance(value, torch.dtype))
    return next((dtype for dtype in named if dtype.is_floating_point and dtype != torch.float64), None)
