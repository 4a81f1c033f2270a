"""What a reader of a report should doubt or change, from what an export knows."""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.candidate.measure import UNSTABLE_CV
from edgeopt.candidate.stages import Evidence, Outcome, Request
from edgeopt.deploy.regressions import regressions
from edgeopt.passes.quantization.fpq import FpqSearch
from edgeopt.passes.quantization.insert_qdq import NO_RANGE, InsertQdq
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.report import figures

_MAKING = tuple(one.name for one in (InsertQdq, WeightOnlyQuantization, FpqSearch))
"""Passes that make a precision."""
_BLAMED = 3
"""How many layers a warning names."""


def warnings_of(request: Request, evidence: Evidence, outcome: Outcome) -> tuple[str, ...]:
    """Return the warnings of an export, those of its stages among them."""
    return (
        *_nothing_swapped(evidence),
        *_not_in_precision(request, evidence),
        *evidence.doubts,
        *outcome.warnings,
        *_unstable(outcome),
        *_slower(request, outcome),
    )


def _nothing_swapped(evidence: Evidence) -> Iterator[str]:
    one = evidence.swapped
    if one is not None and one.is_trained and not one.layers:
        yield (
            f"recipe {one.recipe['name']} swapped nothing: the reasons are under passes; --force overrules that it pays"
        )


def _not_in_precision(request: Request, evidence: Evidence) -> Iterator[str]:
    """Say where no layer is in the precision that was asked for, and which are not for want of a range."""
    making = [one for one in evidence.passes if one.name in _MAKING]
    refused = [note for one in making for note in one.refused]
    if making and not any(one.applied for one in making):
        reasons = list(dict.fromkeys(f"{note.node}: {note.reason}" for note in refused))[:_BLAMED]
        told = "; ".join(reasons) or "the model has none that could be"
        yield f"precision {request.target_options.precision} was asked for, and no layer is in it: {told}"
    elif request.options.quant.ranges is not None:
        left = [note for note in refused if note.reason is not None and note.reason.startswith(NO_RANGE)]
        if left:
            more = f" and {len(left) - _BLAMED} more" if len(left) > _BLAMED else ""
            names = ", ".join(note.node for note in left[:_BLAMED])
            yield f"'{request.options.quant.ranges}' holds no range of what {names}{more} read: they stay in float"


def _unstable(outcome: Outcome) -> Iterator[str]:
    baseline = outcome.baseline.latency if outcome.baseline is not None else None
    for name, latency in (("artifact", outcome.latency), ("plain export", baseline)):
        if latency is not None and latency.cv > UNSTABLE_CV:
            yield (
                f"the latency of the {name} varies by {latency.cv:.1%} (coefficient of variation, above "
                f"{UNSTABLE_CV:.1%}): close other programs, or measure longer with --max-seconds"
            )


def _slower(request: Request, outcome: Outcome) -> Iterator[str]:
    """Say plainly when INT8 does not pay here, and which layers are to blame."""
    latency, baseline = outcome.latency, outcome.baseline
    if request.target_options.precision != "int8" or latency is None or baseline is None or baseline.speedup >= 1:
        return
    worst = regressions(latency.layers, outcome.plain_layers)[:_BLAMED]
    blame = "; ".join(
        f"{', '.join(f'{layer.name} ({layer.type}, {layer.precision})' for layer in one.layers)} "
        f"{figures.cost(one.after, latency.unit)} against {figures.cost(one.before, latency.unit)}"
        for one in worst
    )
    yield (
        f"INT8 is not worth it here: {1 / baseline.speedup:.2f} times the latency of the plain export; "
        f"layers that cost more than there: {blame or 'none by itself'}"
    )
