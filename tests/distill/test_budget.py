from __future__ import annotations

import pytest

from edgeopt.distill.budget import UNBOUNDED_STEPS, parse_budget
from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import UserError


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5min", 300), ("1.5 h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    options = parse_budget(text, TuneOptions(rate=3.0))
    assert (options.seconds, options.steps, options.rate) == (seconds, UNBOUNDED_STEPS, 3.0)


@pytest.mark.parametrize("text", ["500", "500 steps"])
def test_steps(text: str) -> None:
    assert parse_budget(text, TuneOptions()).steps == 500


@pytest.mark.parametrize("text", ["", "5 minutes", "-3", "1e3", "5min!", "0", "0s", "five"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UserError, match="budget"):
        parse_budget(text, TuneOptions())
