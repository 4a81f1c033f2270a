"""Calibrate: from samples to the ranges of every float value of a program.

The first run over the samples finds extremes; methods that want a histogram need a second one between these
extremes. Memory is the accumulators' (16 KiB a value) and one sample's, whatever the number of samples. The state is
saved every few seconds: after a kill, the same call goes on where the last save was and ends at the same ranges.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

import edgeopt
from edgeopt.calib.cache import Entry, program_digest
from edgeopt.calib.data import CALIBRATION, CalibrationData
from edgeopt.calib.masked_scores import without_masks
from edgeopt.calib.methods import Method, method
from edgeopt.calib.observe import Accumulator, observable, observe
from edgeopt.calib.ranges import Ranges, TensorRange, read_ranges
from edgeopt.calib.statistics import Extremes, Histogram, Statistics
from edgeopt.errors import UserError
from edgeopt.files import reading, write_whole
from edgeopt.ir.context import Context
from edgeopt.ir.pass_base import Pass, PassResult
from edgeopt.ir.program import Program, op_name

SAVE_SECONDS = 5.0
"""Time between two saves of the half-way state."""

RANGE_BITS = 12
"""Significant bits of the ends of a range."""

Progress = Callable[[str, int], None]


def calibrate(
    program: Program,
    data: CalibrationData,
    method_name: str = "mse",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Ranges:
    """Return the ranges of all float values of ``program`` over ``data``.

    ``cache`` is the folder that keeps results and half-way states; without it nothing is kept. ``progress`` is
    called with the phase (``extremes``, ``histograms``) and the number of samples done in it. Raises UserError for
    an unknown method and for bad samples.
    """
    chosen = method(method_name)
    model, digest = program_digest(program), data.digest()
    entry = Entry.of(cache, model, digest, chosen.name) if cache else None
    if entry and entry.result.is_file():
        return read_ranges(entry.result)
    state = _State.load(entry.checkpoint) if entry and entry.checkpoint.is_file() else _State()
    _Observation(program, data, state, entry, progress).run(chosen)
    tensors = {name: t for name in sorted(state.extremes) if (t := _estimate(program, state, name, chosen))}
    ranges = Ranges(model, digest, state.samples, chosen.name, edgeopt.__version__, tensors)
    if entry:
        write_whole(entry.result, ranges.to_json())
        entry.checkpoint.unlink(missing_ok=True)
    return ranges


def _coarse(low: float, high: float) -> tuple[float, float]:
    """Return a range rounded outward to 12 bits of its larger end, which is nothing beside a step of 8 bits.

    Processors sum in different orders: the last digits of what was observed differ, those of the range must not.
    """
    largest = max(abs(low), abs(high))
    if not largest:
        return low, high
    step = 2.0 ** (math.frexp(largest)[1] - RANGE_BITS)
    return math.floor(low / step) * step, math.ceil(high / step) * step


@dataclass
class _State:
    """How far the observation is; ``done`` counts the samples of the phase that is running."""

    extremes: dict[str, Extremes] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    samples: int = 0
    done: int = 0

    def dump(self) -> str:
        histograms = {name: [h.low, h.high, h.counts.tolist()] for name, h in self.histograms.items()}
        extremes = {name: asdict(e) for name, e in self.extremes.items()}
        return json.dumps({**vars(self), "extremes": extremes, "histograms": histograms})

    @classmethod
    def load(cls, file: Path) -> _State:
        with reading(file, "remove it to calibrate anew"):
            content = json.loads(file.read_text("utf-8"))
            return cls(
                {name: Extremes(**e) for name, e in content["extremes"].items()},
                {name: Histogram(low, high, np.array(c)) for name, (low, high, c) in content["histograms"].items()},
                content["samples"],
                content["done"],
            )


class _Observation:
    """One or two runs over the samples, with the state saved on the way."""

    def __init__(
        self,
        program: Program,
        data: CalibrationData,
        state: _State,
        entry: Entry | None,
        progress: Progress | None,
    ) -> None:
        self.program, self.data, self.state, self.entry, self.progress = program, data, state, entry, progress
        self.saved = time.monotonic()

    def run(self, chosen: Method) -> None:
        state = self.state
        if not state.samples:
            for name in observable(self.program):
                state.extremes.setdefault(name, Extremes())
            state.samples = self._phase("extremes", state.extremes)
            state.done = 0
        if chosen.needs_histogram:
            for name, seen in state.extremes.items():
                if math.isfinite(seen.low) and math.isfinite(seen.high):
                    state.histograms.setdefault(name, Histogram(seen.low, seen.high))
            self._phase("histograms", state.histograms)

    def _phase(self, name: str, accumulators: Mapping[str, Accumulator]) -> int:
        def after_each(done: int) -> None:
            self.state.done = done
            if self.progress:
                self.progress(name, done)
            if self.entry and time.monotonic() - self.saved > SAVE_SECONDS:
                write_whole(self.entry.checkpoint, self.state.dump())
                self.saved = time.monotonic()

        seen = without_masks(self.program, accumulators)
        return observe(self.program, self.data, seen, self.state.done, after_each)


def _estimate(program: Program, state: _State, name: str, chosen: Method) -> TensorRange | None:
    """Return the range of one value, or None where it is empty or not finite (attention masks)."""
    seen = state.extremes[name]
    if not (math.isfinite(seen.low) and math.isfinite(seen.high)):
        return None
    low, high = _coarse(*chosen.estimate(Statistics(seen, state.histograms.get(name))))
    node = program.node(name)
    assert node is not None
    op = op_name(node) if node.op == "call_function" else "input"
    return TensorRange(op, low, high, seen.low, seen.high, f"{chosen.name} over {state.samples} samples")


@dataclass(frozen=True)
class Calibrate(Pass):
    """Calibrate a program: a pass that leaves the graph and sets its ranges. ``cache``: as ``calibrate`` takes it."""

    name = "calibrate"
    kind = "calibrated"
    stage = "quantize"
    needs = (CALIBRATION,)

    method: str = "mse"
    cache: Path | None = None

    def run(self, program: Program, context: Context) -> PassResult:
        """Return a copy of ``program`` with calibrated ranges."""
        program = program.clone()
        program.ranges = calibrate(program, context[CALIBRATION], self.method, self.cache).program_ranges()
        return PassResult(program, False)


def check_model(ranges: Ranges, program: Program, source: str) -> None:
    """Raise UserError where the ranges belong to another program."""
    if ranges.model != program_digest(program):
        raise UserError(f"{source} was calibrated for another model", "run edgeopt calibrate on this one")
