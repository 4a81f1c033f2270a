"""Passes, what they must keep, and the driver that holds them to it.

After each pass the driver compares the claim ``changed`` with the graph's fingerprint, checks the program's
invariants and lets the ledger measure the error against the original.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from edgeopt.compare import Error
from edgeopt.errors import PassError
from edgeopt.exactness import excessive_change
from edgeopt.ledger import EXACT_BOUND, Ledger
from edgeopt.program import Program

if TYPE_CHECKING:
    from edgeopt.calib.data import CalibrationData

Kind = Literal["exact", "calibrated", "trained"]


@dataclass(frozen=True)
class Note:
    """What a rule did at a node: applied where ``reason`` is None, refused for the reason otherwise."""

    rule: str
    node: str
    reason: str | None = None


@dataclass(frozen=True)
class PassResult:
    """The program a pass made, whether it differs, and what each rule did."""

    program: Program
    changed: bool
    notes: tuple[Note, ...] = ()


@runtime_checkable
class Pass(Protocol):
    """A substitution. It returns a new program and leaves the given one as it was."""

    name: str
    kind: Kind

    def __call__(self, program: Program) -> PassResult:
        """Apply the pass."""
        ...


@runtime_checkable
class Informable(Protocol):
    """A pass that makes use of calibration data where there is some."""

    def informed(self, data: CalibrationData, on_step: Callable[[str], None]) -> Pass:
        """Return what to run in its place, with the data; ``on_step`` is told how far that is."""
        ...


@dataclass(frozen=True)
class Step:
    """A pass in a target's pipeline and why it stands there."""

    build: Callable[[], Pass]
    reason: str


@dataclass(frozen=True)
class PassRecord:
    """What one pass did: its notes, seconds, and the error after it against the original."""

    name: str
    kind: Kind
    changed: bool
    notes: tuple[Note, ...]
    seconds: float
    error: Error | None

    @property
    def applied(self) -> tuple[Note, ...]:
        """Notes of rules that rewrote."""
        return tuple(note for note in self.notes if note.reason is None)

    @property
    def refused(self) -> tuple[Note, ...]:
        """Notes of rules that matched and refused."""
        return tuple(note for note in self.notes if note.reason is not None)


class Pipeline:
    """Passes in order; itself a pass.

    ``on_pass(record, program)`` is called after each one. An exact pass that moves the outputs by more than it may
    (see ``edgeopt.exactness``), a false ``changed`` or a broken program raises PassError, which names the pass and
    those that ran before.
    """

    name = "pipeline"

    def __init__(
        self,
        passes: Iterable[Pass],
        ledger: Ledger | None = None,
        on_pass: Callable[[PassRecord, Program], None] | None = None,
    ) -> None:
        self.passes = tuple(passes)
        self.ledger = ledger
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
        if self.ledger is None:
            return None
        error = self.ledger.measure(after)
        excess = excessive_change(step, before, after, self.ledger) if step.kind == "exact" else None
        if excess is not None:
            raise PassError(
                f"it is exact, yet changed the outputs by {excess:.2e} relative (bound {EXACT_BOUND:.0e}, "
                f"the model's own noise {self.ledger.noise.largest:.0e}), "
                f"first at node {self.ledger.first_divergence(before, after)}",
                f"run again with --skip-pass {step.name} and report the model",
            )
        return error


def _check_claim(step: Pass, claimed: bool, changed: bool) -> None:
    if claimed != changed:
        said, found = ("changed", "the same") if claimed else ("unchanged", "different")
        raise PassError(f"{step.name} says {said}, yet the graph is {found}", "report what the pass did truthfully")
