"""A program fitted to the numbers that OpenVINO's CPU plug-in computes with, or the nodes that cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import fx

from edgeopt.analysis.integer_ranges import hands_on
from edgeopt.analysis.intervals import Interval
from edgeopt.errors import Placement
from edgeopt.ir.program import Program, op_name, origin
from edgeopt.ir.provenance import titled
from edgeopt.ir.wider_floats import in_float32
from edgeopt.ops.opsets import DTYPE_CASTS
from edgeopt.targets.openvino import integers, nans, quotients

_IN_FLOAT32 = "OpenVINO computes float64 in float32"


@dataclass(frozen=True)
class Fitted:
    """The program as it is converted, between which numbers its inputs have to lie, and notes on both.

    ``unplaced``: nodes that OpenVINO would compute with other numbers than torch. ``reach``: that of the artifact.
    """

    program: Program
    integers: Mapping[str, Interval] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unplaced: tuple[Placement, ...] = ()
    reach: Mapping[str, int] = field(default_factory=dict)


def fitted(program: Program) -> Fitted:
    """Return the program with float32 for bfloat16, and with integers and quotients that are computed as
    torch does."""
    wide, notes = in_float32(program, (torch.bfloat16,))
    exact = integers.rewritten(wide)
    assumed, unplaced = integers.bound(exact)
    if unplaced := [*_in_float64(exact), *_empty(exact), *unplaced]:
        return Fitted(exact, unplaced=tuple(unplaced))
    if assumed < integers.LARGEST_IN_FLOAT:
        notes += (
            f"OpenVINO computes integers in 32 bits: right while those that nothing bounds lie within ±{assumed:,}",
        )
    if casts := integers.unbounded_casts(exact):
        names = ", ".join(map(titled, casts))
        notes += (f"OpenVINO casts floats to 32 bits: right while those that {names} reads lie within ±{assumed:,}",)
    reach = {origin(node): assumed for node in casts}
    notes += (*_narrowed(exact), *nans.notes(exact))
    divided, reaches = quotients.rewritten(exact)
    return Fitted(divided, integers.unbounded_inputs(exact, assumed), (*notes, *reaches), reach=reach)


def _empty(program: Program) -> list[Placement]:
    """Return the outputs that never have elements."""
    reason = "OpenVINO loses the shape of an output without elements"
    return [Placement(spec.name, "an output", reason) for spec in program.outputs if 0 in spec.shape]


def _narrowed(program: Program) -> tuple[str, ...]:
    """Return a sentence that names what the model computes in float64 inside; nothing where nothing is."""
    wide = [node for node in program.calls if _is_float64(node) and any(map(_is_float64, node.all_input_nodes))]
    found = [titled(node) for node in wide if node.target not in DTYPE_CASTS and not hands_on(node)]
    if not found:
        return ()
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (f"OpenVINO computes in float32 what the model computes in float64: {found[0]}{more}",)


def _is_float64(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float64


def _in_float64(program: Program) -> list[Placement]:
    """Return the first node that computes with all digits of an input in float64."""
    exact: set[fx.Node] = set()
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            continue
        if node.op == "placeholder" and node.name not in program.constants and value.dtype == torch.float64:
            exact.add(node)
        elif exact.intersection(node.all_input_nodes):
            if hands_on(node):
                exact.add(node)
            elif value.dtype != torch.float32 or node.target not in DTYPE_CASTS:
                return [Placement(node.name, op_name(node), _IN_FLOAT32)]
    return []
