"""The script that a Jetson runs to hold an engine against the golden outputs: how it judges."""

from __future__ import annotations

import math
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

import edgeopt.targets.tensorrt.jetson as jetson

SCRIPT = Path(jetson.__file__).parent / "templates" / "check_on_device.py.jinja"
Y = np.array([4.0, math.inf, math.nan, -2.0])


@pytest.mark.parametrize(
    ("off", "not_compared", "code"),
    [
        (0.0, {}, 0),
        (0.02, {}, 0),
        (0.2, {}, 1),
        (math.nan, {}, 1),
        (math.inf, {}, 1),
        (0.2, {"y": "it is random"}, 0),
    ],
)
def test_golden_outputs_on_the_device(off: float, not_compared: dict[str, str], code: int) -> None:
    judge = run_path(str(SCRIPT))["judge"]
    expected = {"z": np.ones(2), "y": Y}
    got = {"z": np.ones(2), "y": np.array([Y[0] + off, *Y[1:]])}
    assert judge(expected, got, {"bound": 1e-2, "not_compared": not_compared}, None) == code
