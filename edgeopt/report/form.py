"""The form of every part of a record, and of the error of outputs."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, WithJsonSchema, model_validator

# JSON has no infinity and no NaN; `null` stands for them, and `OutputError` says for which.
Extended = Annotated[float, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})]


class Record(BaseModel):
    """A part of the record: immutable, with no fields but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, use_attribute_docstrings=True)


class OutputError(Record):
    """Distance of outputs from the original's over all verification inputs: each figure of the output in which it is
    worst, or of one output."""

    max_abs: Extended
    """Largest absolute difference; null where one is infinite: NaN or infinity where the original has none, or the
    other way round."""
    relative: Extended
    """`max_abs` over the largest absolute reference value; null where it is infinite (as above, or that value is 0)."""
    sqnr_db: Extended
    """Reference power over error power in dB; null where the outputs are equal (infinite), or without a number."""
    cosine: Extended
    """Cosine of the angle between outputs and reference; null where there is none."""

    @model_validator(mode="before")
    @classmethod
    def _restore(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        is_equal = data.get("max_abs") == 0
        missing = {"sqnr_db": math.inf if is_equal else -math.inf, "cosine": math.nan}
        return {key: missing.get(key, math.inf) if value is None else value for key, value in data.items()}
