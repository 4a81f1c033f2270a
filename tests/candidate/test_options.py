"""Options have the type and the range that they are declared with, whoever gives them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.candidate.measure import MeasurePlan
from edgeopt.candidate.options import ExportOptions, split_options
from edgeopt.errors import UserError
from edgeopt.plugins.registry import resolve


def chosen(**overrides: Any) -> Any:
    return split_options(resolve("reference"), ExportOptions(), overrides)


def test_values_take_the_declared_type() -> None:
    options, target = chosen(
        data=Path("d.npz"), seed=np.int64(3), skip_passes=["fold-affine"], threads="2", max_error=1
    )
    assert (options.data, options.seed, options.skip_passes) == ("d.npz", 3, ("fold-affine",))
    assert target.threads == 2 and options.limits.max_error == 1.0
    plan = MeasurePlan(warmup=2)
    assert chosen(measure=plan)[0].measure is plan


@pytest.mark.parametrize(
    "override",
    [
        {"samples": "many"},
        {"seed": -1},
        {"warmup": -1},
        {"max_seconds": 0},
        {"max_error": float("nan")},
        {"limits": 7},
        {"threads": [1]},
        {"data": 3},
        {"strict": "perhaps"},
        {"skip_passes": "fold-affine"},
        {"inputs": 7},
        {"inputs": ["x:1x3", None]},
        {"sample": np.zeros(3)},
        {"sample": {"x": "text"}},
        {"dynamic": {"x": 1}},
    ],
    ids=str,
)
def test_others_are_refused(override: Any) -> None:
    name = next(iter(override)).replace("sample", "(sample|input)")
    with pytest.raises(UserError, match=name.replace("_", "[_-]")) as caught:
        chosen(**override)
    assert caught.value.hint


@pytest.mark.parametrize("threads", [0, 100_000])
def test_threads_that_no_processor_runs_are_refused(threads: int) -> None:
    with pytest.raises(UserError, match=f"threads is {threads}"):
        chosen(threads=threads)
