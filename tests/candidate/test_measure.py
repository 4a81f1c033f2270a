"""Warm-up is detected, runs go on until stable, sessions take turns."""

from typing import Any

import pytest

from edgeopt.candidate.measure import MeasurePlan, measure, measure_in_turns
from tests.fakes import CountingSession, ScriptedSession, X

QUICK = MeasurePlan(min_runs=10, max_runs=40, min_seconds=0.0, max_seconds=5.0)


def run(session: Any, plan: Any = QUICK) -> Any:
    return measure({"a": session}, {"a": X}, plan)["a"]


def test_warm_up_lasts_while_runs_get_faster() -> None:
    timing = run(ScriptedSession([50.0] * 5 + [20.0] * 5 + [10.0] * 5 + [10.0]))
    assert timing.warmup == 20
    assert set(timing.costs) == {10.0}
    assert timing.latency(1).cv == 0.0


def test_a_given_warm_up_is_kept() -> None:
    session = ScriptedSession([10.0])
    timing = run(session, MeasurePlan(warmup=3, min_runs=10, max_runs=40, min_seconds=0.0))
    assert timing.warmup == 3
    assert session.runs == 3 + len(timing.costs)


def test_stable_costs_end_early_and_drifting_ones_run_on() -> None:
    assert len(run(ScriptedSession([10.0])).costs) == 10
    drifting = ScriptedSession([10.0 * 1.05**i for i in range(200)])
    assert len(run(drifting).costs) == 40


def test_sessions_take_turns_in_changing_order() -> None:
    order = []

    class Noting(ScriptedSession):
        def cost(self, inputs: Any) -> Any:
            order.append(self)
            return super().cost(inputs)

    first, second = Noting([10.0]), Noting([20.0])
    plan = MeasurePlan(warmup=0, min_runs=4, max_runs=4, min_seconds=0.0)
    timings = measure({"first": first, "second": second}, {"first": X, "second": X}, plan)
    assert order == [first, second, second, first] * 2
    assert timings["first"].costs == (10.0,) * 4
    assert timings["second"].cpu == (10.0,) * 4


def test_what_costs_the_same_every_time_runs_once() -> None:
    timing = run(CountingSession([1234.0]))
    assert (timing.costs, timing.warmup, timing.unit) == ((1234.0,), 0, "instructions")


def test_variation_is_told() -> None:
    plan = MeasurePlan(warmup=0, min_runs=4, max_runs=4, min_seconds=0.0)
    assert run(ScriptedSession([9.0, 11.0, 9.0, 11.0]), plan).latency(1).cv == pytest.approx(0.1)


def test_what_does_not_fit_together_is_opened_for_its_blocks_in_turn() -> None:
    opened = []

    class Large(ScriptedSession):
        def __init__(self, name: str, cost: Any) -> None:
            super().__init__([cost])
            self.name = name
            opened.append(name)
            assert opened.count("open") == closed.count("closed"), "two at a time"
            opened.append("open")

        def close(self) -> None:
            closed.append("closed")

    closed: list[Any] = []
    plan = MeasurePlan(warmup=0, min_runs=8, max_runs=2, min_seconds=0.0)
    openers = {"a": lambda: Large("a", 10.0), "b": lambda: Large("b", 20.0)}
    timings = measure_in_turns(openers, X, plan)
    assert [name for name in opened if name != "open"] == ["a", "b"] * 4
    assert timings["a"].costs == (10.0,) * 8 and timings["b"].costs == (20.0,) * 8
