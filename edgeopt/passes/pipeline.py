"""Passes in order, and what they must keep.

After each pass the driver compares the claim ``changed`` with the graph's fingerprint, checks the program's
invariants and lets the tracker measure the error against the original.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from edgeopt.analysis.accuracy_tracker import EXACT_BOUND, AccuracyTracker
from edgeopt.analysis.exactness import excessive_change
from edgeopt.errors import PassError
from edgeopt.ir.pass_base import Kind, Pass, PassRecord, PassResult
from edgeopt.ir.program import Program
from edgeopt.records.outputs import Error


class Pipeline:
    """Passes in order; itself a pass.

    ``on_pass(record, program)`` is called after each one. An exact pass that moves the outputs by more than it may
    (see ``edgeopt.analysis.exactness``), a false ``changed`` or a broken program raises PassError, which names the pass
    and those that ran before.
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

    @property
    def kind(self) -> Kind:
        """The weakest promise among the passes."""
        kinds = {p.kind for p in self.passes}
        return "trained" if "trained" in kinds else "calibrated" if "calibrated" in kinds else "exact"

    def __call__(self, program: Program) -> PassResult:
        """Run all passes."""
        final, records = self.run(program)
        notes = tuple(note for record in records for note in record.notes)
        return PassResult(final, any(record.changed for record in records), notes)

    def run(self, program: Program) -> tuple[Program, tuple[PassRecord, ...]]:
        """Run all passes and return the final program with a record for each."""
        records: list[PassRecord] = []
        for step in self.passes:
            program, record = self._step(step, program)
            records.append(record)
            if self.on_pass is not None:
                self.on_pass(record, program)
        return program, tuple(records)

    def _step(self, step: Pass, program: Program) -> tuple[Program, PassRecord]:
        before = program.fingerprint()
        start = time.perf_counter()
        try:
            result = step(program)
            seconds = time.perf_counter() - start
            after = result.program
            after.clean()
            after.verify()
            _check_claim(step, result.changed, before != after.fingerprint())
            if program.fingerprint() != before:
                raise PassError(f"{step.name} changed the program it was given", "clone it first")
            error = self._measure(step, program, after)
        except PassError as failure:
            ran = ", ".join(program.history) or "none"
            message = f"pass {step.name} failed: {failure.message} (passes already run: {ran})"
            raise PassError(message, failure.hint, program) from failure
        after.history = (*program.history, step.name)
        return after, PassRecord(step.name, step.kind, result.changed, result.notes, seconds, error)

    def _measure(self, step: Pass, before: Program, after: Program) -> Error | None:
        if self.tracker is None:
            return None
        error = self.tracker.measure(after)
        excess = excessive_change(step, before, after, self.tracker) if step.kind == "exact" else None
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
