from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgeopt.distill.loop import Loop, Outcome, TuneOptions
from edgeopt.errors import UserError

GENERATOR = torch.Generator().manual_seed(0)
WANTED = torch.randn(4, generator=GENERATOR)
ITEMS = [torch.randn(16, 4, generator=GENERATOR) for _ in range(7)]


def fit(stage: str = "blocks", interrupted_at: int | None = None, **options: Any) -> Outcome:
    """Find ``WANTED`` by least squares."""
    calls = 0

    def loss(parameters: Any, x: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == interrupted_at:
            raise KeyboardInterrupt
        return (x @ parameters["w"] - x @ WANTED).square().mean()

    def error(parameters: Any) -> Any:
        return float((parameters["w"] - WANTED).abs().max())

    return Loop(stage, {"w": torch.zeros(4)}, {}).run(ITEMS, loss, error, TuneOptions(**options))


def test_converges_and_keeps_the_best() -> None:
    outcome = fit(steps=200, rate=0.1)
    assert outcome.before == pytest.approx(float(WANTED.abs().max()))
    assert outcome.after < 0.02 and float((outcome.parameters["w"] - WANTED).abs().max()) == outcome.after


def test_same_seed_same_weights() -> None:
    one, two, other = fit(steps=30), fit(steps=30), fit(steps=30, seed=1)
    assert torch.equal(one.parameters["w"], two.parameters["w"])
    assert not torch.equal(one.parameters["w"], other.parameters["w"])


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = fit(steps=60)
    with pytest.raises(KeyboardInterrupt):
        fit(steps=60, checkpoint=tmp_path / "tune", interrupted_at=50)
    resumed = fit(steps=60, checkpoint=tmp_path / "tune")
    assert (resumed.steps, resumed.before) == (60, whole.before)
    assert torch.equal(resumed.parameters["w"], whole.parameters["w"])
    assert [path.name for path in tmp_path.iterdir()] == ["tune.blocks"]


def test_resumed_run_has_the_rest_of_its_time(tmp_path: Path) -> None:
    fit(steps=10**6, seconds=0.05, check_every=5, patience=10**6, checkpoint=tmp_path / "tune")
    again = fit(steps=10**6, seconds=0.05, check_every=5, patience=10**6, checkpoint=tmp_path / "tune")
    assert again.ended.startswith("after 0 s") and again.steps == torch.load(tmp_path / "tune.blocks")["step"]


def test_stages_keep_checkpoints_of_their_own(tmp_path: Path) -> None:
    for stage in ("blocks", "model"):
        fit(stage, steps=20, checkpoint=tmp_path / "tune")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tune.blocks", "tune.model"]


def test_stops_where_nothing_improves() -> None:
    outcome = fit(steps=5000, rate=0.5, check_every=2, patience=3)
    assert outcome.steps < 5000 and "3 checks without an improvement" in outcome.ended


def test_a_schedule_is_told_what_is_spent_and_bears_with_what_is_worse() -> None:
    told: list[float] = []

    def schedule(spent: float) -> bool:
        told.append(spent)
        return spent >= 0.5

    loop = Loop("model", {"w": torch.zeros(4)}, {}, schedule)
    options = TuneOptions(steps=40, check_every=1, patience=3)
    outcome = loop.run(ITEMS, lambda p, x: p["w"].sum(), lambda p: 1.0, options)
    assert told == [step / 40 for step in range(23)] and outcome.steps == 23


def test_stops_at_the_budget() -> None:
    outcome = fit(steps=10**9, seconds=1e-9)
    assert outcome.steps == 1 and outcome.ended == "after 0 s, 1 steps"


def test_divergence_is_no_improvement() -> None:
    outcome = fit(steps=50, rate=1e20, check_every=5, patience=2)
    assert outcome.after == outcome.before and not outcome.parameters["w"].any()


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tune.blocks").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="cannot be read"):
        fit(checkpoint=tmp_path / "tune")
    (tmp_path / "tune.blocks").unlink()
    fit(steps=20, checkpoint=tmp_path / "tune")
    foreign = Loop("blocks", {"w": torch.zeros(5)}, {})
    with pytest.raises(UserError, match="another model"):
        foreign.run(ITEMS, lambda p, x: p["w"].sum(), lambda p: 0.0, TuneOptions(checkpoint=tmp_path / "tune"))


@pytest.mark.parametrize(
    "name", ["steps", "seconds", "rate", "model_part", "old_part", "batch", "check_every", "patience"]
)
def test_options_must_be_positive(name: str) -> None:
    nothing: dict[str, Any] = {name: 0}
    with pytest.raises(UserError, match=f"{name} is 0"):
        TuneOptions(**nothing)
