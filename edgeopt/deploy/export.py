"""export(): load, verify, rewrite, compile, run what was compiled, compare, measure, and leave a bundle."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import nn
from torch.export import ExportedProgram

from edgeopt.candidate.accuracy import accuracy, classes
from edgeopt.candidate.accuracy_gate import gated
from edgeopt.candidate.compile import Compiled, compiled, observed
from edgeopt.candidate.judge import (
    cause_of,
    checked_by_default,
    checked_by_program,
    checked_by_reach,
    checked_by_slice,
    lost_by,
)
from edgeopt.candidate.measure import Timing, measure, measure_in_turns
from edgeopt.candidate.options import ExportOptions, check_quantization, split_options
from edgeopt.candidate.prepare import prepare
from edgeopt.candidate.stages import Evidence, OnProgress, Outcome, Prepared, Request
from edgeopt.deploy.bundle import refuse_within, staged, write_companions
from edgeopt.deploy.overrides import Overrides
from edgeopt.deploy.record import evidence_of, write_bundle
from edgeopt.errors import EdgeoptError, ToolchainMissing, UserError
from edgeopt.frontend.static_shapes import load_for
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.target import Arrays, Artifact, Session
from edgeopt.records.latency import Baseline, Latency
from edgeopt.records.layers import Layer
from edgeopt.records.run import Run
from edgeopt.search.search import searched

PROFILED_RUNS = 10
HELD_TOGETHER_BYTES = 128 * 2**20
"""Size of an artifact up to which it and the plain export are held in memory together while measuring."""


def export(
    model: nn.Module | ExportedProgram | str | os.PathLike[str],
    target: str = "cpu",
    output: str | os.PathLike[str] = "build",
    options: ExportOptions | None = None,
    on_progress: OnProgress | None = None,
    **overrides: Unpack[Overrides],
) -> Run:
    """Export a model to a target and leave a verified, measured bundle in ``output``.

    ``overrides`` are fields of ExportOptions, of its parts, or of the target's options: ``precision="bf16"``,
    ``inputs={"x": array}``, ``max_latency=2.0``; Overrides lists them all. ``on_progress`` is told what happens.
    Returns the record that ``report.json`` holds; ``run.ok`` says whether all stated limits hold.

    Raises UserError for input or options that cannot be used, Unsupported where the target cannot place a
    node, ToolchainMissing, and PassError where a pass broke its word.
    """
    chosen = resolve(target)
    request = Request(chosen, *split_options(chosen, options or ExportOptions(), overrides))
    check_quantization(chosen, request.options, request.target_options)
    refuse_within(Path(output), _others(model, request.options))
    probe = chosen.probe()
    if not probe.found:
        raise ToolchainMissing(f"the toolchain of target '{chosen.name}'", probe.install or "see edgeopt doctor")
    return _export(model, request, Path(output), on_progress or (lambda step: None))


def _others(model: Any, options: ExportOptions) -> list[str | os.PathLike[str]]:
    """Return the paths of what is read, and of what is written beside the bundle; names of functions and recipes are
    among them, which lie in no bundle."""
    quant, swap = options.quant, options.swap
    given = (model, options.data, quant.calib, quant.ranges, swap.recipe, swap.tune_data, swap.checkpoint, options.dump)
    return [path for path in given if isinstance(path, str | os.PathLike)]


def _export(model: Any, request: Request, output: Path, on_progress: OnProgress) -> Run:
    with staged(output) as folder, tempfile.TemporaryDirectory(prefix="edgeopt-") as scratch:
        built, request = _build(model, request, output, folder, Path(scratch), on_progress)
        outcome = _measured(built, request, on_progress)
        _check_fallbacks(built.shipped.artifact, outcome, request)
        on_progress("writing the bundle")
        outcome = replace(outcome, warnings=(*built.warnings, *outcome.warnings))
        return write_bundle(request, built.evidence, built.shipped.artifact, outcome, folder)


@dataclass(frozen=True)
class _Built:
    """What is on disk, and what is known of it. The programs are gone: measuring needs the memory of their weights.

    ``session``: the artifact, opened; None where it does not run here. ``answered``: what running it showed.
    """

    shipped: Compiled
    plain: Compiled | None
    warnings: tuple[str, ...]
    evidence: Evidence
    session: Session | None
    answered: Outcome


def _build(
    model: Any, request: Request, output: Path, folder: Path, scratch: Path, on_progress: OnProgress
) -> tuple[_Built, Request]:
    """Compile the program, and the plain export; return the request as a search of formats left it."""
    target = request.target
    on_progress("loading the model")
    loaded = load_for(target, model, request.options.load)
    prepared, request = searched(prepare(loaded, request, output, on_progress), request, on_progress)
    prepared = gated(prepared, request, on_progress)
    on_progress(f"compiling for {target.name}")
    samples = observed(prepared, request)
    shipped = compiled(prepared.program, folder, target, request.target_options, samples)
    plain, warnings = _compile_plain(loaded.program, scratch, samples, request, on_progress)
    write_companions(folder, loaded.companions)
    evidence = evidence_of(loaded, prepared, request)
    session, answered = _run_compiled(shipped, prepared, request, evidence, on_progress)
    return _Built(shipped, plain, (*loaded.notes, *warnings), evidence, session, answered), request


def _compile_plain(
    original: Program, folder: Path, samples: Iterable[Arrays], request: Request, on_progress: OnProgress
) -> tuple[Compiled | None, tuple[str, ...]]:
    """Compile the original without any pass, to compare with; a failure is a warning."""
    if not request.options.baseline or not request.target.has_plain_export:
        return None, ()
    on_progress("compiling the plain export to compare with")
    try:
        return compiled(original, folder, request.target, request.target_options, samples), ()
    except EdgeoptError as error:
        return None, (f"no baseline: the plain export fails ({error.message.splitlines()[0].rstrip(':')})",)


def _run_compiled(
    shipped: Compiled, prepared: Prepared, request: Request, evidence: Evidence, on_progress: OnProgress
) -> tuple[Session | None, Outcome]:
    """Open the artifact, where it can run here, and hold its answers against the original's."""
    on_progress("running the artifact")
    with ExitStack() as stack:
        try:
            session = stack.enter_context(closing(shipped.open()))
        except ToolchainMissing as missing:
            return None, Outcome(not_run=f"{missing.message} ({missing.hint})")
        answered = _answer(session, prepared, request, evidence, shipped.artifact.reach, on_progress)
        stack.pop_all()  # it is measured next
        return session, answered


def _measured(built: _Built, request: Request, on_progress: OnProgress) -> Outcome:
    """Measure what was compiled, where it can run here, and close it."""
    evidence, outcome = built.evidence, built.answered
    if built.session is None:
        return outcome
    with closing(built.session) as session:
        if session.stands_in:
            return outcome
        on_progress("measuring")
        together = built.plain is None or _size(built.shipped.folder) <= HELD_TOGETHER_BYTES
        if together:
            timings = _measure(session, built.plain, evidence.sample, request)
            layers = _profiled(session, evidence.sample, on_progress)
    if not together:
        timings = _measure_in_turns(built, request)
        with closing(built.shipped.open()) as session:
            layers = _profiled(session, evidence.sample, on_progress)
    threads = request.target_options.threads
    latency = timings["artifact"].latency(threads, layers)
    return replace(
        outcome,
        latency=latency,
        baseline=_baseline(latency, timings["plain"].latency(threads)) if "plain" in timings else None,
        plain_layers=_plain_layers(built.plain, timings, evidence.sample),
        fallbacks=request.target.fallbacks(layers, request.target_options, evidence.formats),
    )


def _baseline(own: Latency, plain: Latency) -> Baseline:
    return Baseline(plain, plain.median / own.median)


def _profiled(session: Session, sample: Sample, on_progress: OnProgress) -> tuple[Layer, ...]:
    on_progress("profiling layers")
    return session.layers(sample, PROFILED_RUNS)


def _plain_layers(plain: Compiled | None, timings: Mapping[str, Timing], sample: Sample) -> tuple[Layer, ...]:
    """Return the layers of the plain export where it is faster, to tell which of the artifact's are to blame."""
    if plain is None or np.median(timings["artifact"].costs) <= np.median(timings["plain"].costs):
        return ()
    with closing(plain.open()) as session:
        return session.layers(sample, PROFILED_RUNS)


def _answer(
    session: Session,
    prepared: Prepared,
    request: Request,
    evidence: Evidence,
    reach: Mapping[str, int],
    on_progress: OnProgress,
) -> Outcome:
    """Compare the artifact's outputs with the original's, and its classes with the labels; look for what is wrong.

    ``reach``: that of the artifact.
    """
    outputs = [session.run(sample) for sample in prepared.samples]
    comparison = prepared.reference.compare(outputs)
    reached = cause = None
    if prepared.labeled is not None:
        on_progress("running the artifact on the labeled data")
        exported = classes(prepared.labeled.data, session.run)
        reached = accuracy(prepared.labeled.labels, prepared.labeled.original, exported)
    checked = (
        *checked_by_default(request, evidence, comparison, reached),
        *checked_by_slice(prepared, request, evidence, outputs),
        *checked_by_program(prepared, request, evidence, outputs),
        *checked_by_reach(prepared, reach),
    )
    if not all(one.ok for one in checked):
        on_progress("looking for where the outputs begin to differ")
        cause = cause_of(prepared, request, evidence, outputs)
    lost = lost_by(prepared, request, evidence, outputs)
    return Outcome(
        outputs=outputs[0], comparison=comparison, checked=checked, cause=cause, accuracy=reached, warnings=lost
    )


def _measure(session: Session, plain: Compiled | None, sample: Sample, request: Request) -> dict[str, Timing]:
    plan = request.options.measure
    if plain is None:
        return measure({"artifact": session}, {"artifact": sample}, plan)
    with closing(plain.open()) as other:
        return measure({"artifact": session, "plain": other}, {"artifact": sample, "plain": sample}, plan)


def _measure_in_turns(built: _Built, request: Request) -> dict[str, Timing]:
    assert built.plain is not None
    openers = {"artifact": built.shipped.open, "plain": built.plain.open}
    return measure_in_turns(openers, built.evidence.sample, request.options.measure)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _check_fallbacks(artifact: Artifact, outcome: Outcome, request: Request) -> None:
    fallbacks = (*artifact.fallbacks, *outcome.fallbacks)
    if request.options.strict and fallbacks:
        lines = "".join(f"\n  {f.node} ({f.op}): {f.reason}" for f in fallbacks)
        raise UserError(f"{len(fallbacks)} fallback(s) under --strict:{lines}", "export without --strict")
