"""What programs cost where they will run: each is compiled for the target, and all are measured in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgeopt.calib.cache import program_digest
from edgeopt.candidate.compile import compiled
from edgeopt.candidate.measure import MeasurePlan, measure
from edgeopt.errors import EdgeoptError
from edgeopt.ir.context import Cost
from edgeopt.ir.program import Program
from edgeopt.plugins.target import Session, Target, TargetOptions

_PLAN = MeasurePlan(min_runs=10, min_seconds=0.1, max_seconds=0.5)

Costs = Mapping[str, Cost] | None


class TargetTimer:
    """Measures programs on a target, equal ones once: what was found to pay is not asked again."""

    def __init__(self, target: Target, options: TargetOptions) -> None:
        self.target, self.options = target, options
        self._known: dict[tuple[tuple[str, str], ...], Costs] = {}

    @property
    def where(self) -> str:
        """The target's name."""
        return self.target.name

    def __call__(self, programs: Mapping[str, Program]) -> Costs:
        """Return the median cost of each, over random inputs of the first one; None where one does not run here."""
        which = tuple((name, program_digest(program)) for name, program in programs.items())
        if which not in self._known:
            try:
                self._known[which] = self._measure(programs)
            except EdgeoptError:
                self._known[which] = None
        return self._known[which]

    def _measure(self, programs: Mapping[str, Program]) -> Mapping[str, Cost]:
        random = np.random.default_rng(0)
        specs = next(iter(programs.values())).inputs
        sample = {spec.name: random.standard_normal([*map(int, spec.shape)], dtype=np.float32) for spec in specs}
        sessions: dict[str, Session] = {}
        with tempfile.TemporaryDirectory(prefix="edgeopt-") as scratch:
            try:
                for name, program in programs.items():
                    folder = Path(scratch) / name
                    sessions[name] = compiled(program, folder, self.target, self.options, [sample]).open()
                timings = measure(sessions, dict.fromkeys(sessions, sample), _PLAN)
            finally:
                for session in sessions.values():
                    session.close()
        return {name: Cost(float(np.median(timing.costs)), timing.unit) for name, timing in timings.items()}
