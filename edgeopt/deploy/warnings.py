"""What a reader of a report should doubt or change, from what an export knows."""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.candidate.measure import UNSTABLE_CV
from edgeopt.candidate.stages import Evidence, Outcome, Request
from edgeopt.deploy.regressions import regressions
from edgeopt.report import figures

_BLAMED = 3
"""How many layers a warning names."""


def warnings_of(request: Request, evidence: Evidence, outcome: Outcome) -> tuple[str, ...]:
    """Return the warnings of an export, those of its stages among them."""
    return (
        *_nothing_swapped(evidence),
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
