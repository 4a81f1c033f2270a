"""Options, each declared once: a field of a frozen dataclass, with its help.

The flags of the command line, the keys of TOML files, the keywords of Python and the documentation are made of these
declarations. A field that is such a dataclass itself holds further options, which are given by their own names.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from edgeopt.errors import UserError, quoted

T = TypeVar("T")

_KEY = "edgeopt.option"
_ANY_CLASS = ConfigDict(arbitrary_types_allowed=True)


@dataclass(frozen=True)
class _Declaration:
    """What a field says of its option; one without is an option that help does not list."""

    help: str = ""
    metavar: str | None = None
    flag: str | None = None
    parse: Callable[[str], Any] | None = None


def option(
    default: Any,
    help: str,
    *,
    metavar: str | None = None,
    flag: str | None = None,
    parse: Callable[[str], Any] | None = None,
) -> Any:
    """Declare an option as a dataclass's field.

    ``flag``: its flag, where that is not its name; ``parse``: what makes a value, or one of several, of a text.
    """
    return dataclasses.field(default=default, metadata={_KEY: _Declaration(help, metavar, flag, parse)})


@dataclass(frozen=True)
class Option:
    """One option of a dataclass: ``kind`` is its type, ``path`` the fields that lead to the dataclass it stands in."""

    name: str
    kind: Any
    default: Any
    help: str
    metavar: str | None
    flag: str
    parse: Callable[[str], Any] | None
    path: tuple[str, ...] = ()

    @property
    def is_many(self) -> bool:
        """Whether it may be given several times."""
        return typing.get_origin(self.kind) is tuple

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.kind is bool

    @property
    def plain_kind(self) -> type:
        """The type of one value: ``int`` of ``int | None``, ``str`` of ``tuple[str, ...]``."""
        kinds = typing.get_args(self.kind) if self.is_many or isinstance(self.kind, types.UnionType) else (self.kind,)
        kind = next(kind for kind in kinds if kind is not types.NoneType)
        return kind if isinstance(kind, type) else str

    def value(self, given: Any) -> Any:
        """Return a given value in the option's type.

        Raises UserError where it cannot be.
        """
        value = self._read(given)
        if isinstance(value, float) and math.isnan(value):
            raise UserError(f"option '{self.name}' is NaN", "give a number")
        try:
            # Leniently read, true is 1 and "no" is false, which nobody means; what is parsed has its type already.
            is_strict = isinstance(value, bool) or self.is_switch or self.parse is not None
            return TypeAdapter(self.kind, config=_ANY_CLASS).validate_python(value, strict=is_strict)
        except ValidationError as error:
            wanted = self.kind.__name__ if self.kind is self.plain_kind else re.sub(r"\w+\.", "", str(self.kind))
            remedy = f"give another value: {error.errors()[0]['msg']}"
            if self.parse is not None:
                remedy = f"write {self.metavar}, or give what that stands for"
            raise UserError(f"option '{self.name}' is {quoted(given)}, not of type {wanted}", remedy) from error

    def _read(self, given: Any) -> Any:
        """Return a value with its texts parsed, and its paths as texts."""
        if self.parse is None:
            return os.fspath(given) if isinstance(given, os.PathLike) else given
        if self.is_many:
            each = given if isinstance(given, list | tuple) else (given,)
            return tuple(self.parse(one) if isinstance(one, str) else one for one in each)
        return self.parse(os.fspath(given)) if isinstance(given, str | os.PathLike) else given


def share(text: str) -> float:
    """Return 0.05 for ``5%`` and for ``0.05``.

    Raises UserError where a text is neither.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not 0 <= value < math.inf:
        raise UserError(f"{quoted(text)} is not a share", "write 5% or 0.05")
    return value


def declared(holder: type) -> dict[str, Option]:
    """Return the options of a dataclass and of those that it holds, by name, in their order.

    Raises TypeError where two have the same name.
    """
    found: dict[str, Option] = {}
    hints = typing.get_type_hints(holder)
    for one in dataclasses.fields(holder):
        if dataclasses.is_dataclass(hints[one.name]):
            inner = declared(hints[one.name])
            new = {name: dataclasses.replace(option, path=(one.name, *option.path)) for name, option in inner.items()}
        else:
            said = one.metadata.get(_KEY, _Declaration())
            flag = said.flag or "--" + one.name.replace("_", "-")
            new = {one.name: Option(one.name, hints[one.name], one.default, said.help, said.metavar, flag, said.parse)}
        if twice := sorted(found.keys() & new.keys()):
            raise TypeError(f"{holder.__name__} declares option '{twice[0]}' twice")
        found |= new
    return found


def changed(holder: T, values: Mapping[str, Any]) -> T:
    """Return options with other values, each in the dataclass that it stands in.

    Raises UserError where a value is not of its option's type or not legal.
    """
    options = declared(type(holder))
    placed = {(*options[name].path, name): options[name].value(value) for name, value in values.items()}
    return _replaced(holder, placed)


def _replaced(holder: T, values: Mapping[tuple[str, ...], Any]) -> T:
    own = {path[0]: value for path, value in values.items() if len(path) == 1}
    for part in {path[0] for path in values if len(path) > 1}:
        inner = {path[1:]: value for path, value in values.items() if path[0] == part and len(path) > 1}
        own[part] = _replaced(getattr(holder, part), inner)
    return dataclasses.replace(holder, **own) if own else holder  # type: ignore[type-var]


def described(holder: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults, by flag without dashes, as JSON values."""
    values = {}
    for name, one in declared(type(holder)).items():
        value = holder
        for part in (*one.path, name):
            value = getattr(value, part)
        if value != one.default:
            values[one.flag.removeprefix("--")] = [str(v) for v in value] if isinstance(value, tuple) else value
    return values
