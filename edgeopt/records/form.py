"""The form that all parts of a record have."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, WithJsonSchema

_NUMBER_OR_NULL = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})

# JSON has no infinity and no NaN: null stands for them.
Extended = Annotated[float, BeforeValidator(lambda given: math.inf if given is None else given), _NUMBER_OR_NULL]
"""A number that may be infinite."""
Decibels = Annotated[float, BeforeValidator(lambda given: math.nan if given is None else given), _NUMBER_OR_NULL]
"""A ratio that may be infinite in either direction: JSON does not tell in which."""


class Record:
    """A part of the record: a frozen dataclass whose fields' docstrings are the descriptions of the JSON Schema."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)
