"""An artifact's answers against the original's: which default limits hold, and where a difference begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from edgeopt.candidate.accuracy_gate import sensitivities
from edgeopt.candidate.divergence import compiled_for, first_divergence
from edgeopt.candidate.fidelity import check_program, judge_by, tolerance_of
from edgeopt.candidate.limits import Floor, check_drop, check_outputs, check_reach, floor_of
from edgeopt.candidate.slices import check_slices, lost_channels
from edgeopt.candidate.stages import Evidence, Prepared, Request
from edgeopt.errors import EdgeoptError
from edgeopt.ir.metrics import Comparison, Reference, Sample
from edgeopt.ir.program import op_name, origin
from edgeopt.records.limits import Limit
from edgeopt.records.run import Accuracy

_STEP_BOUND = 5e-2
"""Largest relative difference between the artifact and the program it was compiled from, where the target rounds in
ways that the program does not show: a few quantization steps."""


def checked_by_default(
    request: Request, evidence: Evidence, comparison: Comparison, accuracy: Accuracy | None
) -> tuple[Limit, ...]:
    """Hold what an artifact answered against the limits that need not be stated."""
    floor = floor_of(_formats(request, evidence))
    drop = accuracy.drop if accuracy is not None else None
    outputs = check_outputs(comparison, floor, evidence.noise.outputs)
    return *outputs, *check_drop(drop, request.options.limits)


def checked_by_slice(
    prepared: Prepared, request: Request, evidence: Evidence, outputs: list[Sample]
) -> tuple[Limit, ...]:
    """Hold each channel and each sample of what an artifact answered against the limits that need not be stated."""
    return check_slices(prepared.reference, outputs, floor_of(_formats(request, evidence)), evidence.noise)


def lost_by(prepared: Prepared, request: Request, evidence: Evidence, outputs: list[Sample]) -> tuple[str, ...]:
    """Return in words which channels the artifact's number format leaves nothing of."""
    return lost_channels(prepared.reference, outputs, floor_of(_formats(request, evidence)))


def checked_by_reach(prepared: Prepared, reach: Mapping[str, int]) -> tuple[Limit, ...]:
    """Hold the largest number of each value that a runtime holds only so far against that, over all samples.

    Of infinities and NaN no cast makes a number that is defined: a model that casts them does not read the result.
    """
    casts = {node: node.all_input_nodes for node in prepared.program.calls if origin(node) in reach}
    sources = {source for read in casts.values() for source in read}
    finite: dict[fx.Node, torch.Tensor] = {}
    found: dict[str, float] = {}

    def see(node: fx.Node, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            return
        if node in sources:
            finite[node] = value.isfinite()
        if node in casts:
            defined = value.double().abs()
            for source in casts[node]:
                defined = defined.where(finite[source], 0.0)
            found[origin(node)] = max(found.get(origin(node), 0.0), float(defined.max()) if value.numel() else 0.0)

    for sample in prepared.samples if reach else ():
        prepared.program.run(sample, see)
    return tuple(check_reach(label, most, found[label]) for label, most in reach.items() if label in found)


def checked_by_program(
    prepared: Prepared, request: Request, evidence: Evidence, outputs: list[Sample]
) -> tuple[Limit, ...]:
    """Hold what an artifact answered against the program that it was compiled from."""
    tolerance = tolerance_of(prepared.program, request, evidence.noise.largest)
    return check_program(prepared.program, prepared.samples, outputs, tolerance)


def cause_of(prepared: Prepared, request: Request, evidence: Evidence, outputs: list[Sample]) -> str | None:
    """Return in words where an artifact begins to differ from the original; None where that is not found.

    It is the first node that is not as in the program that was compiled; else, the program itself differing, the layer
    that loses most by being quantized, or the pass after which the error is beyond the limits.
    """
    floor = floor_of(_formats(request, evidence))
    sample = _worst_sample(prepared, outputs)
    tolerance = tolerance_of(prepared.program, request, evidence.noise.largest) or min(floor.relative, _STEP_BOUND)
    try:
        found = first_divergence(prepared.program, sample, compiled_for(request), judge_by(tolerance))
    except EdgeoptError:
        return None  # the program as it is was compiled before: what fails is the search, and says nothing of it
    if found is not None:
        return f"the compiled artifact is wrong first at {found}"
    if prepared.stage is not None and prepared.searched is None:
        hurts = sensitivities(prepared.stage.ready.program, prepared.stage.scheme, [sample])
        worst = min(hurts, key=lambda layer: (hurts[layer], layer))
        ops = {node.name: op_name(node) for node in prepared.stage.ready.program.calls}
        return f"of the quantized layers {worst} ({ops[worst]}) hurts most: {hurts[worst]:.1f} dB by itself"
    return _guilty_pass(prepared, floor)


def _worst_sample(prepared: Prepared, outputs: list[Sample]) -> Sample:
    """Return the verification input on which the artifact is furthest from the original."""
    names = prepared.reference.not_compared

    def error(index: int) -> float:
        one = Reference((prepared.reference.outputs[index],), names).compare([outputs[index]]).worst
        return one.relative if one is not None else 0.0

    return prepared.samples[max(range(len(outputs)), key=error)]


def _guilty_pass(prepared: Prepared, floor: Floor) -> str | None:
    for record in prepared.records:
        if record.error is not None and not (
            record.error.relative <= floor.relative and record.error.sqnr_db >= floor.sqnr_db
        ):
            return f"the program differs from pass {record.name} on"
    return None


def _formats(request: Request, evidence: Evidence) -> set[str]:
    """Return the number formats of the artifact, and whether it is a binary network or a trained one, in words."""
    searched, swapped = evidence.searched, evidence.swapped
    precision = request.target_options.precision
    formats = {precision} if searched is None else set(searched.trials[searched.chosen].counts)
    if evidence.is_binary:
        formats.add("binary")
    if swapped is not None and not all(layer.kept for layer in swapped.layers):
        formats.add("trained")
    return formats
