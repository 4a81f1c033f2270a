"""From what an export knows to its Run record, golden file, manifest and reports."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.analysis.accuracy_tracker import is_binary
from edgeopt.analysis.saturation import pair_costs
from edgeopt.candidate.limits import Checked, Measured, check, check_capacity, verdict
from edgeopt.candidate.measure import UNSTABLE_CV, Timing
from edgeopt.candidate.options import all_described
from edgeopt.candidate.quantize import RECOVERIES
from edgeopt.candidate.records import Evidence, GateRecord, Outcome, Prepared, Request
from edgeopt.deploy.bundle import GOLDEN, file_entry, write_golden, write_manifest, write_report
from edgeopt.deploy.regressions import regressions
from edgeopt.frontend.load import Loaded
from edgeopt.ir.metrics import Error
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.target import Artifact, Layer
from edgeopt.report import figures
from edgeopt.report.form import OutputError
from edgeopt.report.latency import Baseline, Latency, LayerTime, executed_precision
from edgeopt.report.quantized import GateAttempt, LayerSensitivity, PairedLayer, Quantization
from edgeopt.report.run import (
    Accuracy,
    ArtifactFiles,
    FallbackEntry,
    File,
    Limit,
    Model,
    OutputEntry,
    OutputNoise,
    PassEntry,
    Run,
    TargetUsed,
)
from edgeopt.report.searched import Search
from edgeopt.report.swapped import SwapAttempt, SwappedLayer, Swaps, TunedStage

_BLAMED = 3
"""How many layers a warning names."""


def evidence_of(loaded: Loaded, prepared: Prepared) -> Evidence:
    """Return what the record and the checks need once the programs, and with them their weights, are gone."""
    stage = prepared.stage
    return Evidence(
        model=_model(loaded, prepared.macs),
        records=prepared.records,
        samples=prepared.samples,
        reference=prepared.reference,
        noise=prepared.noise,
        labeled=prepared.labeled,
        gate=None if stage is None else stage.gate or GateRecord((), (), ()),
        swapped=prepared.swapped,
        searched=prepared.searched,
        is_binary=is_binary(prepared.program),
        left_out=prepared.left_out,
        paired=() if stage is None else tuple(pair_costs(prepared.program, stage.ready.program)),
    )


def write_bundle(request: Request, evidence: Evidence, artifact: Artifact, outcome: Outcome, folder: Path) -> Run:
    """Write golden file, manifest and reports beside the artifact in ``folder``; return the record."""
    run = _run(request, evidence, artifact, outcome, folder)
    if outcome.outputs is not None:
        write_golden(folder, evidence.samples[0], outcome.outputs)
    write_report(folder, run)
    _manifest(request, evidence, artifact, outcome, run, folder)
    return run


def _manifest(
    request: Request,
    evidence: Evidence,
    artifact: Artifact,
    outcome: Outcome,
    run: Run,
    folder: Path,
) -> None:
    target = request.target
    bound = target.golden_bounds[request.target_options.precision]
    facts: dict[str, Any] = {
        "source": {"name": evidence.model.source, "sha256": evidence.model.sha256, "format": evidence.model.format},
        "target": {"name": target.name, "device": target.device.name, "options": vars(request.target_options)},
        "options": run.options,
        "verdict": run.verdict,
        "accepted_difference": run.accepted_difference,
        **({} if evidence.swapped is None else {"recipe": evidence.swapped.recipe.described()}),
        "passes": [{"name": r.name, "kind": r.kind, "changed": r.changed} for r in evidence.records],
        "inputs": [str(spec) for spec in artifact.inputs],
        "outputs": [str(spec) for spec in artifact.outputs],
        "artifact": list(artifact.files),
        "deployment": dict(artifact.facts),
        "golden": {
            "file": GOLDEN,
            "bound": bound,
            "not_run": outcome.not_run,
            "not_compared": {one.name: one.reason for one in run.outputs if one.reason is not None},
        },
        "versions": run.versions,
    }
    write_manifest(folder, facts)


def _run(request: Request, evidence: Evidence, artifact: Artifact, outcome: Outcome, folder: Path) -> Run:
    files = tuple(File.model_validate(file_entry(folder, path)) for path in artifact.files)
    threads = request.target_options.threads
    fallbacks = (*artifact.fallbacks, *outcome.fallbacks)
    latency = latency_of(outcome.timing, threads, outcome.layers) if outcome.timing else None
    baseline = _baseline(outcome, threads, latency)
    checked = (
        *_stated(request, outcome, latency, artifact.stored(folder)),
        *_capacity(artifact),
        *outcome.checked,
    )
    return Run(
        model=evidence.model,
        target=_target(request, outcome),
        passes=tuple(map(PassEntry.of, evidence.records)),
        verdict=verdict(outcome.comparison, checked),
        accepted_difference=request.options.accept_difference,
        cause=outcome.cause,
        error=OutputError.model_validate(error) if (error := _worst(outcome)) else None,
        outputs=tuple(map(OutputEntry.model_validate, outcome.comparison.outputs)) if outcome.comparison else (),
        noise=OutputNoise(outputs=dict(evidence.noise.outputs), reason=evidence.noise.reason),
        accuracy=Accuracy.model_validate(outcome.accuracy) if outcome.accuracy else None,
        swaps=_swaps(evidence),
        quantization=_quantization(evidence, request),
        search=Search.model_validate(evidence.searched) if evidence.searched else None,
        artifact=ArtifactFiles(files=files, memory=dict(artifact.memory)),
        latency=latency,
        baseline=baseline,
        not_run=outcome.not_run,
        fallbacks=tuple(FallbackEntry.model_validate(f) for f in fallbacks),
        limits=tuple(map(Limit.model_validate, checked)),
        warnings=(
            *_nothing_swapped(evidence),
            *evidence.left_out,
            *outcome.warnings,
            *_latency_warnings(outcome),
            *_slower(request, outcome, latency, baseline),
        ),
        notes=artifact.notes,
        options=all_described(request.options, request.target_options),
        versions=_versions(request),
    )


def _model(loaded: Loaded, macs: int) -> Model:
    program = loaded.program
    return Model(
        source=loaded.source,
        sha256=loaded.sha256,
        format=loaded.format.value,
        parameters=program.parameters,
        macs=macs,
        inputs=tuple(map(str, program.inputs)),
        outputs=tuple(map(str, program.outputs)),
    )


def _target(request: Request, outcome: Outcome) -> TargetUsed:
    return TargetUsed(
        name=request.target.name,
        device=request.target.device.name,
        precision_requested=request.target_options.precision,
        precision_executed=executed_precision(outcome.layers),
        hardware=request.target.hardware() if outcome.not_run is None else None,
    )


def _baseline(outcome: Outcome, threads: int, latency: Latency | None) -> Baseline | None:
    if latency is None or outcome.baseline is None:
        return None
    plain = latency_of(outcome.baseline, threads, ())
    return Baseline(latency=plain, speedup=plain.median / latency.median)


def latency_of(timing: Timing, threads: int, layers: tuple[Layer, ...]) -> Latency:
    """Return the record's latency of what was measured."""
    return Latency.of(
        timing.costs,
        unit=timing.unit,
        warmup=timing.warmup,
        threads=threads,
        cpu_median=float(np.median(timing.cpu)) if timing.unit == "ms" else None,
        layers=_layer_times(layers),
    )


def _layer_times(layers: tuple[Layer, ...]) -> tuple[LayerTime, ...]:
    total = sum(layer.median or 0.0 for layer in layers)
    return tuple(
        LayerTime(
            name=layer.name,
            type=layer.type,
            precision=layer.precision,
            median=layer.median,
            share=layer.median / total if layer.median is not None and total else None,
        )
        for layer in layers
    )


def _stated(request: Request, outcome: Outcome, latency: Latency | None, size: int) -> tuple[Checked, ...]:
    """Hold the artifact against the limits that were stated."""
    accuracy = outcome.accuracy
    measured = Measured(
        error=_worst(outcome),
        accuracy=accuracy.exported if accuracy else None,
        drop=accuracy.drop if accuracy else None,
        latency=latency.median if latency else None,
        bytes=size,
    )
    return check(request.options.limits, measured)


def _worst(outcome: Outcome) -> Error | None:
    return outcome.comparison.worst if outcome.comparison is not None else None


def _capacity(artifact: Artifact) -> tuple[Checked, ...]:
    """Return what the device has of each kind of memory as limits."""
    return tuple(
        check_capacity(f"device-{kind}", most, artifact.memory[kind]) for kind, most in artifact.capacity.items()
    )


def _nothing_swapped(evidence: Evidence) -> tuple[str, ...]:
    one = evidence.swapped
    if one is None or not one.recipe.is_trained or one.layers:
        return ()
    return (f"recipe {one.recipe.name} swapped nothing: the reasons are under passes; --force overrules that it pays",)


def _swaps(evidence: Evidence) -> Swaps | None:
    """Return what the recipe did."""
    one = evidence.swapped
    if one is None:
        return None
    return Swaps(
        recipe=one.recipe.described(),
        samples=one.samples,
        before=one.before,
        after=one.after,
        stages=tuple(map(TunedStage.model_validate, one.stages)),
        layers=tuple(map(SwappedLayer.model_validate, one.layers)),
        attempts=tuple(map(SwapAttempt.model_validate, one.attempts)),
        figures=one.figures,
    )


def _quantization(evidence: Evidence, request: Request) -> Quantization | None:
    """Return how the program was quantized, and what the accuracy gate gave back."""
    gate = evidence.gate
    if gate is None:
        return None
    options = request.options.quant
    return Quantization(
        method=options.calib_method if options.ranges is None else f"ranges from {options.ranges}",
        recoveries=tuple(r.name for r in evidence.records if r.name in RECOVERIES),
        quantized=sum(len(r.applied) for r in evidence.records if r.name == InsertQdq.name),
        kept_float=(*gate.kept, *options.keep_float),
        layers=tuple(LayerSensitivity.model_validate(layer) for layer in gate.layers),
        attempts=tuple(GateAttempt.model_validate(attempt) for attempt in gate.attempts),
        paired=tuple(map(PairedLayer.model_validate, evidence.paired)),
    )


def _slower(request: Request, outcome: Outcome, latency: Latency | None, baseline: Baseline | None) -> tuple[str, ...]:
    """Say plainly when INT8 does not pay here, and which layers are to blame."""
    if request.target_options.precision != "int8" or latency is None or baseline is None or baseline.speedup >= 1:
        return ()
    worst = regressions(outcome.layers, outcome.plain_layers)[:_BLAMED]
    blame = "; ".join(
        f"{', '.join(f'{layer.name} ({layer.type}, {layer.precision})' for layer in one.layers)} "
        f"{figures.cost(one.after, latency.unit)} against {figures.cost(one.before, latency.unit)}"
        for one in worst
    )
    return (
        f"INT8 is not worth it here: {1 / baseline.speedup:.2f} times the latency of the plain export; "
        f"layers that cost more than there: {blame or 'none by itself'}",
    )


def _latency_warnings(outcome: Outcome) -> tuple[str, ...]:
    timings = {"artifact": outcome.timing, "plain export": outcome.baseline}
    return tuple(
        f"the latency of the {name} varies by {timing.cv:.1%} (coefficient of variation, above {UNSTABLE_CV:.1%}): "
        "close other programs, or measure longer with --max-seconds"
        for name, timing in timings.items()
        if timing is not None and timing.cv > UNSTABLE_CV
    )


def _versions(request: Request) -> dict[str, str]:
    own = {"edgeopt": version("edgeopt"), "python": platform.python_version(), "torch": version("torch")}
    return {**own, **request.target.probe().versions}
