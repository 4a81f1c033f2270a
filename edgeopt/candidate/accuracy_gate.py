"""The accuracy gate: layers return to higher precision, worst first, until the stated limits hold.

What is judged is the artifact: each attempt is compiled and run. How much a layer hurts is measured on the program,
with that layer alone quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from edgeopt.candidate.compile import observed, tried
from edgeopt.candidate.limits import answers_hold
from edgeopt.candidate.quantize import quantized
from edgeopt.candidate.records import OnProgress, Prepared, Request, measured
from edgeopt.ir.metrics import Sample, compare_all
from edgeopt.ir.program import Program, op_name
from edgeopt.passes.quantization.insert_qdq import InsertQdq, choose
from edgeopt.plugins.target import Session
from edgeopt.quant.scheme import Scheme
from edgeopt.records.outputs import EQUAL, Error
from edgeopt.records.quantization import GateAttempt, LayerSensitivity, Quantization

_TIMED_RUNS = 15

Judge = Callable[[Collection[str]], GateAttempt]


def gated(prepared: Prepared, request: Request, on_progress: OnProgress) -> Prepared:
    """Return the program with as few layers in float as the limits on error and accuracy ask for.

    Under ``--strict``, without such a limit, or where a search chose the formats, it is returned as it is.
    """
    stage, limits = prepared.stage, request.options.limits
    if stage is None or prepared.searched is not None or request.options.strict or not limits.on_answers:
        return prepared

    def judge(kept: Collection[str]) -> GateAttempt:
        on_progress(f"accuracy gate: {len(kept)} layers in float")
        program, _ = quantized(stage.ready, stage.scheme, request.options.quant, kept)
        return _attempt(len(kept), program, prepared, request)

    first = judge(())
    if first.ok:
        return replace(prepared, stage=replace(stage, gate=Quantization(attempts=(first,))))
    on_progress("accuracy gate: measuring how much each layer hurts")
    layers = sensitivities(stage.ready.program, stage.scheme, prepared.samples)
    record = hold_limits(layers, first, judge)
    program, records = quantized(
        stage.ready, stage.scheme, request.options.quant, record.kept_float, stage.tracker, stage.on_pass
    )
    earlier = prepared.records[: stage.first_record]
    return replace(prepared, program=program, records=(*earlier, *records), stage=replace(stage, gate=record))


def sensitivities(reference: Program, scheme: Scheme, samples: Sequence[Sample]) -> tuple[LayerSensitivity, ...]:
    """Quantize each layer of the calibrated float program alone and measure its outputs; worst first."""
    chosen, _ = choose(reference, scheme)
    names = {node.name: op_name(node) for node in chosen}
    expected = [reference.run(sample) for sample in samples]
    found = []
    for name, op in names.items():
        alone = InsertQdq(scheme, names.keys() - {name})(reference).program
        found.append(LayerSensitivity(name, op, compare_all(expected, map(alone.run, samples)).sqnr_db))
    return tuple(sorted(found, key=lambda s: (s.sqnr_db, s.layer)))


def hold_limits(layers: Sequence[LayerSensitivity], first: GateAttempt, judge: Judge) -> Quantization:
    """Return the fewest layers to keep in float, worst first, under which ``judge(kept)`` is content.

    ``first`` is the attempt that keeps none. The number is found by bisection: quantizing fewer layers is taken not to
    make things worse. Where even keeping all does not help none is kept, for the limit is missed for another reason.
    """
    attempts = [first]

    def holds(kept: Collection[str]) -> bool:
        attempts.append(judge(kept))
        return attempts[-1].ok

    kept = fewest([layer.layer for layer in layers], holds)
    return Quantization(kept_float=kept, layers=tuple(layers), attempts=tuple(attempts))


def fewest(order: Sequence[str], holds: Callable[[Collection[str]], bool]) -> tuple[str, ...]:
    """Return the shortest start of ``order`` for which ``holds`` is true, by bisection; none where all do not help.

    ``holds`` was false of nothing.
    """
    low, high = 0, len(order)
    if not holds(order):
        return ()
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(order[:middle]) else (middle, high)
    return tuple(order[:high])


def _attempt(kept: int, program: Program, prepared: Prepared, request: Request) -> GateAttempt:
    """Compile and run a candidate, and hold what it shows against the limits."""
    with tried(program, request, observed(prepared, request)) as (candidate, session):
        error, accuracy = answers(session, prepared)
        cost = float(np.median([session.cost(prepared.samples[0])[0] for _ in range(_TIMED_RUNS)]))
    ok = answers_hold(request.options.limits, measured(error, accuracy, prepared.labeled))
    return GateAttempt(kept, ok, error.relative, accuracy, candidate.bytes, cost)


def answers(session: Session, prepared: Prepared) -> tuple[Error, float | None]:
    """Return the error on the verification inputs, and the accuracy where there is labeled data."""
    error = prepared.reference.compare(map(session.run, prepared.samples)).worst or EQUAL
    return error, prepared.labeled.accuracy(session.run) if prepared.labeled is not None else None
