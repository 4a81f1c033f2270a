"""Every part of a record is read as it was written, whatever its numbers are; what could not be read is not written."""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import JsonValue, ValidationError

from edgeopt import records
from edgeopt.records.form import Decibels, Extended, Record

for module in pkgutil.iter_modules(records.__path__):
    importlib.import_module(f"{records.__name__}.{module.name}")
PARTS = sorted(Record.__subclasses__(), key=lambda part: part.__name__)
PLAIN = {float: 1.5, int: 3, bool: True, str: "a", types.NoneType: None, JsonValue: {"a": [1.5, None]}}


def value(kind: Any, number: float, is_given: bool) -> Any:
    """Return a value of a type: where it may be infinite, ``number``, and where it may be absent, that or not."""
    if kind in (Extended, Decibels):
        return number
    if kind in PLAIN:
        return PLAIN[kind]
    if dataclasses.is_dataclass(kind):
        return made(typing.cast(Any, kind), number, is_given)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return arguments[0]
    if origin is Annotated:
        return value(arguments[0], number, is_given)
    if origin in (types.UnionType, typing.Union):
        return value(arguments[0], number, is_given) if is_given else None
    if issubclass(origin, Mapping):
        return {"a": value(arguments[1], number, is_given)}
    assert origin is tuple
    return tuple(value(one, number, is_given) for one in arguments if one is not ...)


def made(part: type[Any], number: float, is_given: bool) -> Any:
    """Return a record of a class with all its fields."""
    hints = typing.get_type_hints(part, include_extras=True)
    return part(**{field.name: value(hints[field.name], number, is_given) for field in dataclasses.fields(part)})


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_what_is_written_is_read_again(part: type[Record]) -> None:
    for number, is_given in ((1.5, True), (1.5, False), (math.inf, True), (-math.inf, True), (math.nan, True)):
        text = made(part, number, is_given).to_json()
        assert part.json_form().validate_json(text).to_json() == text


def numbers() -> Iterator[tuple[type[Record], str]]:
    for part in PARTS:
        hints = typing.get_type_hints(part, include_extras=True)
        yield from ((part, name) for name, kind in hints.items() if kind is float)


@pytest.mark.parametrize("part, name", numbers(), ids=lambda one: getattr(one, "__name__", one))
def test_a_number_without_a_place_for_infinity_is_not_written(part: type[Record], name: str) -> None:
    for number in (math.inf, -math.inf, math.nan):
        with pytest.raises(ValidationError, match=name):
            dataclasses.replace(made(part, 1.5, True), **{name: number}).to_json()
