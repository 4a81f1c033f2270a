"""Whether the original takes the sizes that were asked for: torch.export may trace as free what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from edgeopt.errors import EdgeoptError, UserError
from edgeopt.frontend.inputs import DynamicSpec
from edgeopt.ir.program import Program
from edgeopt.verification.draws import Draw
from edgeopt.verification.kinds import kind_of
from edgeopt.verification.sizes import sizes_of, towards


def check_stated(program: Program, example: Mapping[str, np.ndarray], asked: Sequence[DynamicSpec]) -> None:
    """Run the original at both ends of each dimension that must vary, or as near to them as inputs are made.

    ``example``: by name; its arrays are repeated or cut to the sizes. Raises UserError with the size that fails.
    """
    draw, sizes = Draw(program, example), sizes_of(program, example)
    inputs = {node.name: kind_of(program, node, example[node.name]) for node in program.input_nodes}
    for spec in asked:
        dimension = inputs[spec.name].node.meta["val"].shape[spec.axis]
        # One that is fixed is so for the target; of one that is an expression, torch tells which sizes it takes.
        if not isinstance(dimension, torch.SymInt) or not dimension.node.expr.is_symbol:
            continue
        symbol = dimension.node.expr
        for end in (spec.low, spec.high):
            tried = towards(program, symbol, sizes, end)
            try:
                program.run({name: draw.given(one, tried) for name, one in inputs.items()})
            except EdgeoptError as error:
                raise UserError(
                    f"--dynamic {spec} is asked for, and the model fails at size {tried[symbol]}: {error.message}",
                    "give bounds that the model takes, or leave the dimension out of --dynamic",
                ) from error
