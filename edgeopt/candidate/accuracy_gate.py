"""The accuracy gate of quantization: layers return to higher precision, worst first, until the stated limits hold.

What is judged is the artifact: each attempt is compiled and run. How much a layer hurts is measured on the program,
with that layer alone quantized.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgeopt.candidate.compile import observed, tried
from edgeopt.candidate.gate import answers, hold
from edgeopt.candidate.limits import answers_hold
from edgeopt.candidate.quantize import quantized
from edgeopt.candidate.stages import OnProgress, Prepared, Request, measured
from edgeopt.ir.metrics import Sample, compare_all
from edgeopt.ir.program import Program, op_name
from edgeopt.passes.quantization.insert_qdq import InsertQdq, choose
from edgeopt.quant.scheme import Scheme
from edgeopt.records.quantization import GateAttempt, LayerSensitivity, Quantization

_TIMED_RUNS = 15


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

    def hurts() -> Mapping[str, float]:
        on_progress("accuracy gate: measuring how much each layer hurts")
        return sensitivities(stage.ready.program, stage.scheme, prepared.samples)

    held = hold(judge, hurts)
    if held.attempts[0].ok:
        return replace(prepared, stage=replace(stage, gate=Quantization(attempts=held.attempts)))
    ops = {node.name: op_name(node) for node in stage.ready.program.calls}
    layers = tuple(LayerSensitivity(name, ops[name], sqnr_db) for name, sqnr_db in held.hurts.items())
    program, records = quantized(
        stage.ready, stage.scheme, request.options.quant, held.kept, stage.tracker, stage.on_pass
    )
    earlier = prepared.records[: stage.first_record]
    gate = Quantization(kept_float=held.kept, layers=layers, attempts=held.attempts)
    return replace(prepared, program=program, records=(*earlier, *records), stage=replace(stage, gate=gate))


def sensitivities(reference: Program, scheme: Scheme, samples: Sequence[Sample]) -> dict[str, float]:
    """Return by layer of the calibrated float program the outputs' signal to noise in dB with it alone quantized."""
    names = {node.name for node in choose(reference, scheme)[0]}
    expected = [reference.run(sample) for sample in samples]
    found = {}
    for name in sorted(names):
        alone = InsertQdq(scheme, keep=names - {name})(reference).program
        found[name] = compare_all(expected, map(alone.run, samples)).sqnr_db
    return found


def _attempt(kept: int, program: Program, prepared: Prepared, request: Request) -> GateAttempt:
    """Compile and run a candidate, and hold what it shows against the limits."""
    with tried(program, request, observed(prepared, request)) as (candidate, session):
        error, accuracy = answers(session.run, prepared.reference, prepared.samples, prepared.labeled)
        cost = float(np.median([session.cost(prepared.samples[0])[0] for _ in range(_TIMED_RUNS)]))
    ok = answers_hold(request.options.limits, measured(error, accuracy, prepared.labeled))
    return GateAttempt(kept, ok, error.relative, accuracy, candidate.bytes, cost)
