"""Passes in order, and what they must keep.

After each pass the driver compares the claim ``changed`` with the graph's fingerprint, checks the program's
invariants and lets the tracker measure the error against the original.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from edgeopt.analysis.accuracy_tracker import EXACT_BOUND, AccuracyTracker
from edgeopt.analysis.exactness import excessive_change
from edgeopt.errors import PassError
from edgeopt.ir.context import EMPTY, Context
from edgeopt.ir.pass_base import Pass, PassResult
from edgeopt.ir.program import Program
from edgeopt.passes.order import check_needs, check_requirements, check_stages
from edgeopt.records.outputs import Error
from edgeopt.records.passes import PassRecord


class Pipeline:
    """Passes in order.

    ``on_pass(record, program)`` is called after each one. Passes that do not fit together, or lack what they need, are
    refused before the first one runs. An exact pass that moves the outputs by more than it may (see
    ``edgeopt.analysis.exactness``), a false ``changed`` or a broken program raises PassError, which names the pass and
    those that ran before.
    """

    name = "pipeline"

    def __init__(
        self,
        passes: Iterable[Pass],
        tracker: AccuracyTracker | None = None,
        on_pass: Callable[[PassRecord, Program], None] | None = None,
    ) -> None:
        self.passes = tuple(passes)
        self.tracker = tracker
        self.on_pass = on_pass

    def __call__(self, program: Program, context: Context = EMPTY) -> PassResult:
        """Run all passes and return the final program with the notes of all."""
        final, records = self.run(program, context)
        notes = tuple(note for record in records for note in record.notes)
        return PassResult(final, any(record.changed for record in records), notes)

    def run(self, program: Program, context: Context = EMPTY) -> tuple[Program, tuple[PassRecord, ...]]:
        """Run all passes and return the final program with a record for each."""
        records: list[PassRecord] = []
        for result, record in self.steps(program, context):
            program = result.program
            records.append(record)
        return program, tuple(records)

    def steps(self, program: Program, context: Context = EMPTY) -> Iterator[tuple[PassResult, PassRecord]]:
        """Run the passes one by one, and yield the result of each with its record."""
        check_stages(self.passes)
        check_requirements(self.passes, program.ensured)
        check_needs(self.passes, context)
        for step in self.passes:
            result, record = self._step(step, program, context)
            program = result.program
            if self.on_pass is not None:
                self.on_pass(record, program)
            yield result, record

    def _step(self, step: Pass, program: Program, context: Context) -> tuple[PassResult, PassRecord]:
        before, settings = program.fingerprint(), dict(vars(step))
        start = time.perf_counter()
        try:
            result = step(program, context)
            seconds = time.perf_counter() - start
            after = result.program
            after.clean()
            after.verify()
            _check_claim(step, result.changed, before != after.fingerprint())
            if program.fingerprint() != before:
                raise PassError(f"{step.name} changed the program it was given", "clone it first")
            if vars(step).keys() != settings.keys() or any(vars(step)[key] is not settings[key] for key in settings):
                raise PassError(f"{step.name} kept something of this run", "return it with the result")
            error = self._measure(step, program, after, context)
        except PassError as failure:
            ran = ", ".join(program.history) or "none"
            message = f"pass {step.name} failed: {failure.message} (passes already run: {ran})"
            raise PassError(message, failure.hint, program) from failure
        after.history = (*program.history, step.name)
        return result, PassRecord.of(step.name, step.kind, result.changed, result.notes, seconds, error)

    def _measure(self, step: Pass, before: Program, after: Program, context: Context) -> Error | None:
        if self.tracker is None:
            return None
        error = self.tracker.measure(after)
        if step.kind != "exact":
            return error
        excess = excessive_change(step, before, after, self.tracker, context)
        if excess is not None:
            raise PassError(
                f"it is exact, yet changed the outputs by {excess:.2e} relative (bound {EXACT_BOUND:.0e}, "
                f"the model's own noise {self.tracker.noise.largest:.0e}), "
                f"first at node {self.tracker.first_divergence(before, after)}",
                f"run again with --skip-pass {step.name} and report the model",
            )
        return error


def _check_claim(step: Pass, claimed: bool, changed: bool) -> None:
    if claimed != changed:
        said, found = ("changed", "the same") if claimed else ("unchanged", "different")
        raise PassError(f"{step.name} says {said}, yet the graph is {found}", "report what the pass did truthfully")
