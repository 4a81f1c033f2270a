"""Cost of one inference: warm-up detected, runs until stable, several sessions alternately."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeopt.errors import UserError
from edgeopt.options import option
from edgeopt.plugins.target import Arrays, Session
from edgeopt.records.latency import Latency, Unit
from edgeopt.records.layers import Layer, with_shares

UNSTABLE_CV = 0.025
"""Coefficient of variation above which a latency is called unstable."""

_WINDOW = 5
_DRIFT = 0.02
_TURNS = 4
_CHECK_EVERY = 10
"""Runs between two looks at stability: each look sweeps the caches and slows the run that follows."""


@dataclass(frozen=True)
class MeasurePlan:
    """How long to measure. ``warmup``: runs not counted, detected where None; times in seconds, per session."""

    warmup: int | None = option(None, "Runs before measuring (default: detected).", metavar="N")
    min_runs: int = 20
    max_runs: int = 5000
    min_seconds: float = 0.5
    max_seconds: float = option(5.0, "Longest time to measure (default 5).", metavar="S")

    def __post_init__(self) -> None:
        if self.warmup is not None and self.warmup < 0:
            raise UserError(f"warmup is {self.warmup}", "give 0 runs or more")
        if not self.max_seconds > 0:
            raise UserError(f"max-seconds is {self.max_seconds}", "measure for more than 0 seconds")


@dataclass(frozen=True)
class Timing:
    """Costs of single inferences in the session's unit, CPU time beside them, and the warm-up runs before."""

    unit: Unit
    costs: tuple[float, ...]
    cpu: tuple[float, ...]
    warmup: int

    def latency(self, threads: int, layers: Sequence[Layer] = ()) -> Latency:
        """Return the statistics, with the layers that ran."""
        cpu_median = float(np.median(self.cpu)) if self.unit == "ms" else None
        facts = {"unit": self.unit, "warmup": self.warmup, "threads": threads, "cpu_median": cpu_median}
        return Latency.of(self.costs, layers=with_shares(layers), **facts)


def measure(
    sessions: Mapping[str, Session], inputs: Mapping[str, Arrays], plan: MeasurePlan | None = None
) -> dict[str, Timing]:
    """Measure sessions alternately, one inference each in turn, so that drift of the machine hits all alike.

    Every round is run in the opposite order of the one before: whoever comes after the bookkeeping, or after
    another model, finds colder caches. ``inputs`` holds each session's inputs under the session's name.
    """
    plan = plan or MeasurePlan()
    warmups = {name: _warm_up(session, inputs[name], plan) for name, session in sessions.items()}
    costs: dict[str, list[float]] = {name: [] for name in sessions}
    cpu: dict[str, list[float]] = {name: [] for name in sessions}
    order = list(sessions.items())
    start = time.perf_counter()
    while not _is_enough(list(costs.values()), (time.perf_counter() - start) / len(sessions), plan):
        for name, session in order:
            cost, cpu_cost = session.cost(inputs[name])
            costs[name].append(cost)
            cpu[name].append(cpu_cost)
        order.reverse()
        if all(session.is_deterministic for session in sessions.values()):
            break
    return {
        name: Timing(session.unit, tuple(costs[name]), tuple(cpu[name]), warmups[name])
        for name, session in sessions.items()
    }


def measure_in_turns(
    openers: Mapping[str, Callable[[], Session]], inputs: Arrays, plan: MeasurePlan | None = None
) -> dict[str, Timing]:
    """Measure sessions that are too large to be held together: in alternate blocks, each opened for its block."""
    plan = plan or MeasurePlan()
    share = replace(
        plan,
        min_runs=math.ceil(plan.min_runs / _TURNS),
        min_seconds=plan.min_seconds / _TURNS,
        max_seconds=plan.max_seconds / _TURNS,
    )
    blocks: dict[str, list[Timing]] = {name: [] for name in openers}
    for _ in range(_TURNS):
        for name, open_session in openers.items():
            session = open_session()
            try:
                blocks[name].append(measure({name: session}, {name: inputs}, share)[name])
            finally:
                session.close()
    return {name: _joined(parts) for name, parts in blocks.items()}


def _joined(parts: Sequence[Timing]) -> Timing:
    costs = tuple(cost for part in parts for cost in part.costs)
    cpu = tuple(cost for part in parts for cost in part.cpu)
    return Timing(parts[0].unit, costs, cpu, sum(part.warmup for part in parts))


def _warm_up(session: Session, inputs: Arrays, plan: MeasurePlan) -> int:
    """Run until the median of a window of runs no longer falls by more than a twentieth."""
    if session.is_deterministic:
        return 0
    if plan.warmup is not None:
        for _ in range(plan.warmup):
            session.run(inputs)
        return plan.warmup
    runs, before = 0, float("inf")
    start = time.perf_counter()
    while True:
        median = float(np.median([session.cost(inputs)[0] for _ in range(_WINDOW)]))
        runs += _WINDOW
        if median > 0.95 * before or time.perf_counter() - start > plan.max_seconds:
            return runs
        before = median


def _is_enough(costs: Sequence[Sequence[float]], seconds: float, plan: MeasurePlan) -> bool:
    runs = len(costs[0])
    if runs >= plan.max_runs or (runs and seconds >= plan.max_seconds):
        return True
    if runs < plan.min_runs or seconds < plan.min_seconds:
        return False
    return runs % _CHECK_EVERY == 0 and all(map(_is_stable, costs))


def _is_stable(costs: Sequence[float]) -> bool:
    """Whether both halves of the runs have the same median within two percent."""
    half = len(costs) // 2
    first, second = float(np.median(costs[:half])), float(np.median(costs[half:]))
    return abs(first - second) <= _DRIFT * first
