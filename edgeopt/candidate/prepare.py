"""From a loaded model to a program ready to compile: verification inputs, passes, the original's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeopt.analysis.accuracy_tracker import AccuracyTracker, is_binary
from edgeopt.analysis.macs import count_macs
from edgeopt.analysis.reference import reference_of
from edgeopt.calib.data import open_data
from edgeopt.candidate.accuracy import check_labels, classes
from edgeopt.candidate.conditions import Conditions
from edgeopt.candidate.options import ExportOptions
from edgeopt.candidate.pass_list import build_passes, pass_context
from edgeopt.candidate.quantize import calibrated, quantized
from edgeopt.candidate.recipe_runner import substituted
from edgeopt.candidate.stages import Labeled, OnProgress, Prepared, QuantizedStage, Request
from edgeopt.errors import PassError, UserError
from edgeopt.files import check_writable, replacing, write_whole
from edgeopt.frontend.load import Loaded
from edgeopt.ir.convert import save
from edgeopt.ir.metrics import Arrays, Reference, Sample
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.passes.exact.remove_noops import RemoveNoops
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.target import AUTO
from edgeopt.plugins.threads import fitting_threads, torch_threads
from edgeopt.quant.scheme import Scheme
from edgeopt.recipes.options import TuningSamples, tuning_samples
from edgeopt.records.passes import PassRecord
from edgeopt.records.swaps import Swaps
from edgeopt.verification import Inventor, VerificationInputs, check_stated, out_of_range, varied

FEWEST_SAMPLES, MOST_SAMPLES = 3, 8
VERIFIED_MACS = 20 * 10**9
"""Multiply-accumulates of all verification inputs together, where there may be more than the fewest."""

MOST_NOISE = 0.1
"""Noise of an output above which no limit on its error could be missed."""


def prepare(loaded: Loaded, request: Request, output: Path, on_progress: OnProgress) -> Prepared:
    """Run the passes under the tracker.

    Raises PassError where a pass breaks its word; the program before it is kept beside ``output``.
    """
    original, options = loaded.program, request.options
    check_stated(original, loaded.example, options.load.dynamic)
    tuning = tuning_samples(options.swap, options.quant.calib, original, options.load.trust)
    inputs = _inputs(loaded, request, tuning)
    samples = inputs.samples
    tracker = AccuracyTracker(original, samples, reference_of(original, samples))
    for sample, outputs in zip(samples, tracker.reference, strict=True):
        _refuse_nan(sample, outputs)
    macs = sum(count_macs(original, samples[0]).values())
    with torch_threads(fitting_threads(macs)):
        labeled = _labeled(original, request, on_progress)
        context, on_pass = pass_context(original, request, on_progress), _observer(options.dump, on_progress)
        conditions = Conditions(request, context, tuning, labeled, tracker, on_pass, on_progress)
        try:
            program, records, swapped, stage = _run_passes(original, conditions)
        except PassError as failure:
            raise _keep_last_good(failure, output) from failure
    return Prepared(
        program,
        records,
        samples,
        _comparable(tracker),
        tracker.noise,
        macs,
        labeled,
        stage,
        swapped,
        doubts=(*inputs.left_out, *_misfits(loaded, stage)),
    )


def _comparable(tracker: AccuracyTracker) -> Reference:
    """Return the original's outputs; those that are rounding error, in large part, are not compared.

    Where rounding decides signs, their limits are those of a binary network.
    """
    reference = tracker.reference
    if is_binary(tracker.original):
        return reference
    noisy = {
        name: f"rounding alone changes it by {noise:.1g} of its largest value in the original"
        for name, noise in tracker.noise.outputs.items()
        if noise > MOST_NOISE
    }
    return replace(reference, not_compared={**noisy, **reference.not_compared})


def _inputs(loaded: Loaded, request: Request, tuning: TuningSamples | None) -> VerificationInputs:
    """Return the verification inputs: what the model was traced with and invented ones; or calibration samples, and the
    sample that was given; or those held out of tuning. Of ranges that were calibrated elsewhere, the labeled data, or
    the first of these alone.

    Invented inputs saturate ranges that were calibrated on real ones: they say nothing of a quantized program, nor of
    one that was tuned.
    """
    options, original = request.options, loaded.program
    if tuning is not None:
        return VerificationInputs(tuple(tuning.held_out))
    if (source := _real_inputs(options)) is not None:
        data = open_data(source, original.inputs, options.load.trust)
        given = (loaded.example,) if options.load.sample is not None else ()
        return VerificationInputs((*varied(data, options.samples or FEWEST_SAMPLES), *given))
    inventor = Inventor(original, loaded.example, options.seed, loaded.has_invented_example)
    if options.quant.ranges is not None:
        return inventor.samples(1)
    return inventor.samples(options.samples or _affordable(count_macs(original, inventor.example)))


def _misfits(loaded: Loaded, stage: QuantizedStage | None) -> tuple[str, ...]:
    """Return in words where the ranges that were calibrated do not fit what the model was traced with."""
    if stage is None or loaded.has_invented_example:
        return ()
    return tuple(out_of_range(loaded.example, stage.ready.program.ranges))


def _real_inputs(options: ExportOptions) -> str | None:
    """Return the data to verify a calibrated program on: what it was calibrated on, or else the labeled data."""
    calib, ranges = options.quant.calib, options.quant.ranges
    return options.data if calib is None and ranges is not None else calib


def _affordable(macs: Mapping[str, int]) -> int:
    """Return how many samples to verify on: fewer of a large model, which every pass runs on all of them."""
    return max(FEWEST_SAMPLES, min(MOST_SAMPLES, VERIFIED_MACS // max(sum(macs.values()), 1)))


def _run_passes(
    original: Program, conditions: Conditions
) -> tuple[Program, tuple[PassRecord, ...], Swaps | None, QuantizedStage | None]:
    """Run the passes, a recipe's among them; one that quantizes is preceded by calibration and followed by what
    recovers accuracy."""
    request, tracker, on_pass, context = conditions.request, conditions.tracker, conditions.on_pass, conditions.context
    options = request.options
    passes = build_passes(request, context)
    program, swapped = original, None
    before: tuple[PassRecord, ...] = ()
    if (recipe := options.swap.chosen()) is not None:
        program, before = Pipeline(_tidying(passes), tracker, on_pass).run(program, context)
        program, records, swapped = substituted(program, recipe, conditions)
        before = (*before, *records)
    place, scheme = _quantizes(passes)
    program, records = Pipeline(passes[:place], tracker, on_pass).run(program, context)
    before = (*before, *records)
    if scheme is None:
        return program, before, swapped, None
    ready = calibrated(program, scheme, options.quant, context, passes[place + 1 :], tracker, on_pass)
    before = (*before, *ready.records)
    stage = QuantizedStage(ready, scheme, tracker, on_pass, len(before))
    if request.target_options.precision == AUTO:
        return ready.program, before, swapped, stage
    program, records = quantized(ready, scheme, options.quant, (), tracker, on_pass)
    return program, (*before, *records), swapped, stage


def _tidying(passes: list[Pass]) -> list[Pass]:
    """Return the passes that tidy up before a recipe looks for its structures; they run again after it."""
    found = (next((p for p in passes if isinstance(p, kind)), None) for kind in (FoldConstants, RemoveNoops))
    return [p for p in found if p is not None]


def _quantizes(passes: list[Pass]) -> tuple[int, Scheme | None]:
    """Return where the pass stands that puts layers on integers, and its scheme; the end and None without one."""
    for index, candidate in enumerate(passes):
        if isinstance(candidate, InsertQdq):
            return index, candidate.scheme
    return len(passes), None


def _labeled(original: Program, request: Request, on_progress: OnProgress) -> Labeled | None:
    options = request.options
    if options.data is None:
        return None
    data = open_data(options.data, original.inputs, options.load.trust)
    labels = data.labels()
    if labels is None:
        raise UserError(f"'{options.data}' holds no labels", "add an array 'labels' with the class of each sample")
    on_progress("running the original on the labeled data")
    predicted = classes(data, original.run)
    check_labels(labels, len(predicted), original.run(next(iter(data))))
    return Labeled(data, labels, predicted)


def _observer(dump: str | None, on_progress: OnProgress) -> Callable[[PassRecord, Program], None]:
    """Return what reports each pass, and writes the program's text after it where ``dump`` names a folder."""
    folder = Path(dump) if dump else None
    if folder is not None:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--dump '{folder}' is not a folder", "name a folder, which is made where there is none")
        for file in (folder / "00.txt", *folder.glob("[0-9][0-9]-*.txt")):
            check_writable(file, r"\A(input|constant|return) ")

    def observe(entry: PassRecord, program: Program) -> None:
        on_progress(f"{entry.name}: {entry.applied} applied, {len(entry.refused)} refused ({entry.seconds:.2f} s)")
        if folder is not None:
            write_whole(folder / f"{len(program.history):02d}-{entry.name}.txt", program.text())

    return observe


def _keep_last_good(failure: PassError, output: Path) -> PassError:
    if failure.last_good is None:
        return failure
    path = output.with_name(f"{output.name}.last-good.pt2")
    with replacing(path) as temporary:
        save(failure.last_good, temporary)
    return PassError(f"{failure.message}; the program before it is in '{path}'", failure.hint, failure.last_good)


def _refuse_nan(sample: Sample, outputs: Arrays) -> None:
    for name, array in outputs.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            shapes = ", ".join(f"{k}: {'x'.join(map(str, v.shape))}" for k, v in sample.items())
            raise UserError(
                f"the original's output '{name}' is NaN on a verification input ({shapes})",
                "give a sample that the model is meant for, with --sample FILE.npz",
            )
