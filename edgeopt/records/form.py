"""The form that all parts of a record have."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import AllowInfNan, BeforeValidator, ConfigDict, TypeAdapter, WithJsonSchema

_NUMBER_OR_NULL = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})

# JSON has no infinity and no NaN: null stands for them.
_Any = Annotated[float, AllowInfNan(True)]
Extended = Annotated[_Any, BeforeValidator(lambda given: math.inf if given is None else given), _NUMBER_OR_NULL]
"""A number that may be infinite."""
Decibels = Annotated[_Any, BeforeValidator(lambda given: math.nan if given is None else given), _NUMBER_OR_NULL]
"""A ratio that may be infinite in either direction: JSON does not tell in which."""


class Record:
    """A part of the record: a frozen dataclass whose fields' docstrings are the descriptions of the JSON Schema."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def json_form(cls) -> TypeAdapter[Any]:
        """Return what writes and reads records of this class, and knows their JSON Schema."""
        kind: Any = cls  # mypy takes a class that defines __hash__ for one that has none itself
        return _form_of(kind)

    def to_json(self) -> str:
        """Return its fields as JSON text, which can be read again.

        Raises PydanticSerializationError where a field does not have its type, and ValidationError where a number is
        infinite, or is none, whose type has no place for that.
        """
        text = self.json_form().dump_json(self, indent=2, warnings="error")
        self.json_form().validate_json(text)
        return text.decode() + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return its fields as JSON values."""
        content: dict[str, Any] = json.loads(self.to_json())
        return content


@cache
def _form_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
