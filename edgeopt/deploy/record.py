"""From what an export knows to its Run record, golden file, manifest and reports."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeopt.analysis.accuracy_tracker import is_binary
from edgeopt.analysis.saturation import pair_costs
from edgeopt.candidate.limits import Measured, check, check_capacity, verdict
from edgeopt.candidate.options import all_described
from edgeopt.candidate.quantize import RECOVERIES
from edgeopt.candidate.stages import Evidence, Outcome, Prepared, Request
from edgeopt.deploy.bundle import GOLDEN, file_entry, write_golden, write_manifest, write_report
from edgeopt.deploy.warnings import warnings_of
from edgeopt.frontend.load import Loaded
from edgeopt.ir.provenance import module_path
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.target import Artifact
from edgeopt.records.layers import executed_precision
from edgeopt.records.limits import Limit
from edgeopt.records.outputs import OutputNoise
from edgeopt.records.quantization import Quantization
from edgeopt.records.run import ArtifactFiles, File, Model, Run, TargetUsed


def evidence_of(loaded: Loaded, prepared: Prepared, request: Request) -> Evidence:
    """Return what the record and the checks need once the programs, and with them their weights, are gone."""
    return Evidence(
        model=_model(loaded, prepared),
        passes=prepared.records,
        sample=prepared.samples[0],
        noise=prepared.noise,
        quantization=_quantization(prepared, request),
        swapped=prepared.swapped,
        searched=prepared.searched,
        is_binary=is_binary(prepared.program),
        formats=prepared.formats,
        doubts=prepared.doubts,
    )


def _model(loaded: Loaded, prepared: Prepared) -> Model:
    program = loaded.program
    return Model(
        source=loaded.source,
        sha256=loaded.sha256,
        format=loaded.format.value,
        parameters=program.parameters,
        macs=prepared.macs,
        inputs=tuple(map(str, program.inputs)),
        outputs=tuple(map(str, program.outputs)),
        modules={
            node.name: path for one in (program, prepared.program) for node in one.calls if (path := module_path(node))
        },
    )


def _quantization(prepared: Prepared, request: Request) -> Quantization | None:
    """Return how the program was quantized, and what the accuracy gate gave back."""
    stage, passes, options = prepared.stage, prepared.records, request.options.quant
    if stage is None:
        return None
    return replace(
        stage.gate,
        kept_float=(*stage.gate.kept_float, *options.keep_float),
        method=options.calib_method if options.ranges is None else f"ranges from {options.ranges}",
        recoveries=tuple(one.name for one in passes if one.name in RECOVERIES),
        quantized=sum(one.applied for one in passes if one.name == InsertQdq.name),
        paired=tuple(pair_costs(prepared.program, stage.ready.program)),
    )


def write_bundle(request: Request, evidence: Evidence, artifact: Artifact, outcome: Outcome, folder: Path) -> Run:
    """Write golden file, manifest and reports beside the artifact in ``folder``; return the record."""
    run = _run(request, evidence, artifact, outcome, folder)
    if outcome.outputs is not None:
        write_golden(folder, evidence.sample, outcome.outputs)
    write_report(folder, run)
    write_manifest(folder, _facts(request, artifact, run))
    return run


def _facts(request: Request, artifact: Artifact, run: Run) -> dict[str, Any]:
    """Return what the manifest says beside the hashes."""
    target, options = request.target, request.target_options
    return {
        "source": {"name": run.model.source, "sha256": run.model.sha256, "format": run.model.format},
        "target": {"name": target.name, "device": target.device.name, "options": vars(options)},
        "options": run.options,
        "verdict": run.verdict,
        "accepted_difference": run.accepted_difference,
        **({} if run.swaps is None else {"recipe": run.swaps.recipe}),
        "passes": [{"name": one.name, "kind": one.kind, "changed": one.changed} for one in run.passes],
        "inputs": [str(spec) for spec in artifact.inputs],
        "outputs": [str(spec) for spec in artifact.outputs],
        "artifact": list(artifact.files),
        "deployment": dict(artifact.facts),
        "golden": {
            "file": GOLDEN,
            "bound": target.golden_bounds[options.precision],
            "not_run": run.not_run,
            "not_compared": {one.name: one.reason for one in run.outputs if one.reason is not None},
        },
        "versions": run.versions,
    }


def _run(request: Request, evidence: Evidence, artifact: Artifact, outcome: Outcome, folder: Path) -> Run:
    comparison = outcome.comparison
    limits = (*_stated(request, outcome, artifact.stored(folder)), *_capacity(artifact), *outcome.checked)
    return Run(
        model=evidence.model,
        target=_target(request, outcome),
        passes=evidence.passes,
        verdict=verdict(comparison, limits),
        accepted_difference=request.options.accept_difference,
        cause=outcome.cause,
        error=comparison.worst if comparison is not None else None,
        outputs=comparison.outputs if comparison is not None else (),
        noise=OutputNoise(evidence.noise.outputs, evidence.noise.reason),  # its slices are arrays
        accuracy=outcome.accuracy,
        swaps=evidence.swapped,
        quantization=evidence.quantization,
        search=evidence.searched,
        artifact=ArtifactFiles(
            files=tuple(File(**file_entry(folder, path)) for path in artifact.files), memory=artifact.memory
        ),
        latency=outcome.latency,
        baseline=outcome.baseline,
        not_run=outcome.not_run,
        fallbacks=(*artifact.fallbacks, *outcome.fallbacks),
        limits=limits,
        warnings=warnings_of(request, evidence, outcome),
        notes=artifact.notes,
        options=all_described(request.options, request.target_options),
        versions=_versions(request),
    )


def _target(request: Request, outcome: Outcome) -> TargetUsed:
    return TargetUsed(
        name=request.target.name,
        device=request.target.device.name,
        precision_requested=request.target_options.precision,
        precision_executed=executed_precision(outcome.latency.layers if outcome.latency is not None else ()),
        hardware=request.target.hardware() if outcome.not_run is None else None,
    )


def _stated(request: Request, outcome: Outcome, size: int) -> tuple[Limit, ...]:
    """Hold the artifact against the limits that were stated."""
    comparison, accuracy, latency = outcome.comparison, outcome.accuracy, outcome.latency
    measured = Measured(
        error=comparison.worst if comparison is not None else None,
        accuracy=accuracy.exported if accuracy is not None else None,
        drop=accuracy.drop if accuracy is not None else None,
        latency=latency.median if latency is not None else None,
        bytes=size,
    )
    return check(request.options.limits, measured)


def _capacity(artifact: Artifact) -> tuple[Limit, ...]:
    """Return what the device has of each kind of memory as limits."""
    return tuple(
        check_capacity(f"device-{kind}", most, artifact.memory[kind]) for kind, most in artifact.capacity.items()
    )


def _versions(request: Request) -> dict[str, str]:
    own = {"edgeopt": version("edgeopt"), "python": platform.python_version(), "torch": version("torch")}
    return {**own, **request.target.probe().versions}
