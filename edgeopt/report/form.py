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
    """Distance of outputs from the original's, over all outputs and verification inputs together."""

    max_abs: Extended
    """Largest absolute difference; null where an output is NaN."""
    relative: Extended
    """`max_abs` over the largest absolute reference value; null where that is zero (or an output is NaN)."""
    sqnr_db: Extended
    """Reference power over error power in dB; null where the outputs are equal (infinite), or the reference is zero."""
    cosine: Extended
    """Cosine of the angle between outputs and reference; null where an output is NaN."""

    @model_validator(mode="before")
    @classmethod
    def _restore(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        largest = data.get("max_abs", 0.0)
        if largest is None:
            missing = {"max_abs": math.nan, "relative": math.nan, "sqnr_db": math.nan, "cosine": math.nan}
        else:
            missing = {"relative": math.inf, "sqnr_db": -math.inf if largest else math.inf, "cosine": math.nan}
        return {key: missing.get(key) if value is None else value for key, value in data.items()}
