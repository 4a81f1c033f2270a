"""Tracing with dimensions that may vary if the model lets them: nobody asked for them, so a fixed one is no error."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.export import ExportedProgram

from edgeopt.errors import UserError
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.trace import trace
from edgeopt.ir.metrics import Sample


def traced_freely(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    sample: Sample,
    asked: Sequence[DynamicSpec],
    offered: Sequence[DynamicSpec],
) -> tuple[ExportedProgram, tuple[str, ...]]:
    """Trace a module in evaluation mode, and say which of the offered dimensions it fixes.

    ``asked``: dimensions that must vary. Raises UserError where the module cannot be traced.
    """
    stated = {(spec.name, spec.axis) for spec in asked}
    free = [
        spec.including(sample[spec.name].shape[spec.axis])
        for spec in offered
        if spec.name in sample and (spec.name, spec.axis) not in stated
    ]
    try:
        exported = trace(module, inputs, sample, (*asked, *free))
    except UserError as error:
        if not free:
            raise
        return trace(module, inputs, sample, asked), (f"all sizes of the inputs are fixed: {error.message}",)
    shapes = {node.name: node.meta["val"].shape for node in exported.graph.nodes if node.op == "placeholder"}
    fixed = [spec for spec in free if isinstance(shapes[spec.name][spec.axis], int)]
    return exported, tuple(
        f"the model fixes dimension {spec.axis} of input '{spec.name}' at {shapes[spec.name][spec.axis]}"
        for spec in fixed
    )
