"""tune: constants of swapped layers take the values that were found for them by tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from edgeopt.ir.context import Context
from edgeopt.ir.pass_base import Note, Pass, PassResult
from edgeopt.ir.program import Program


@dataclass(frozen=True)
class SetTuned(Pass):
    """Set those of ``constants`` that the program has."""

    name = "tune"
    kind = "trained"

    constants: Mapping[str, torch.Tensor]

    def run(self, program: Program, context: Context) -> PassResult:
        """Set the constants of a copy of ``program``."""
        program = program.clone()
        found = {name: value for name, value in self.constants.items() if name in program.constants}
        program.constants |= found
        return PassResult(program, bool(found), tuple(Note("set-tuned", name) for name in found))
