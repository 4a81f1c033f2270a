"""Ranges that were read from a file."""

from __future__ import annotations

import json

import pytest

from edgeopt.calib.ranges import SCHEMA_VERSION, Ranges
from edgeopt.errors import UserError

LONG = "x" * 5000


@pytest.mark.parametrize(("version", "low"), [(LONG, 0.0), (SCHEMA_VERSION, LONG)])
def test_long_values_are_quoted_in_short(version: object, low: object) -> None:
    tensor = {"low": low, "high": 1.0, "observed_low": 0.0, "observed_high": 1.0, "op": "relu", "how": "given"}
    content = {"schema_version": version, "tensors": {"relu": tensor}, "model": "m", "data": "d"}
    with pytest.raises(UserError, match="'xxx") as caught:
        Ranges.from_json(json.dumps(content), "ranges.json")
    assert len(caught.value.message) < 300
