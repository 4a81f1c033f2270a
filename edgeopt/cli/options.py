"""Declared options as flags: those of every export as click's own, a target's as what is left of the arguments."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeopt.cli.command import repeated
from edgeopt.errors import UserError
from edgeopt.files import reason

if TYPE_CHECKING:
    from edgeopt.options import Option
    from edgeopt.plugins.target import Target

_KINDS = {"int": int, "float": float, "str": str}
_NOT_OPTIONS = ("model", "on_progress", "options")
"""What export() is given beside its options."""


@cache
def _declared_flags() -> dict[str, list[dict[str, Any]]]:
    """Return the flags of declared options by group. The declarations themselves need torch, which help does not."""
    found: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("flags.json").read_text("utf-8"))
    return found


def flags(group: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command the flags of ``export`` or of ``loading``.

    A flag that is not given is None, or empty where it may be repeated: it then keeps its default.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for one in reversed(_declared_flags()[group]):
            command = _flag(**one)(command)
        return command

    return decorate


def names(group: str) -> tuple[str, ...]:
    """Return the names of the options that a group's flags are of."""
    return tuple(one["name"] for one in _declared_flags()[group])


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, in the types of click, which the options' own follow."""
    return {name: value for name, value in values.items() if value is not None and value != ()}


def _flag(
    name: str, spelling: str, kind: str, help: str, metavar: str | None, is_many: bool
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    if kind == "bool":
        return click.option(spelling, name, is_flag=True, default=None, help=help)
    return click.option(spelling, name, type=_KINDS[kind], multiple=is_many, metavar=metavar, help=help)


def parse_flags(target: Target, arguments: Sequence[str], others: Collection[str] = ()) -> dict[str, Any]:
    """Return the target's options given as ``--name value`` or ``--name=value``; booleans need no value. ``others``
    are flags that may be meant by an unknown one.

    Raises UserError for a name that is not an option of the target, one that is repeated, or a value of another type.
    """
    from edgeopt.options import declared

    options = {one.flag: one for one in declared(target.Options).values()}
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag, has_value, value = rest.pop(0).partition("=")
        if not flag.startswith("-"):
            raise UserError(f"'{flag}' is one argument too many", "export one model at a time")
        if (one := options.get(flag)) is None:
            raise UserError(f"target '{target.name}' has no option '{flag}'", _meant(flag, options, others))
        if not has_value and not one.is_switch:
            if not rest:
                raise UserError(f"option '{flag}' has no value", f"give a {one.plain_kind.__name__}")
            value = rest.pop(0)
        if one.name in values:
            raise repeated(f"'{flag}'")
        values[one.name] = _converted(one, value or "true")
    return values


def _converted(one: Option, value: str) -> Any:
    if one.is_switch:
        if value not in ("true", "false"):
            raise UserError(f"option '{one.flag}' is '{value}'", "give true or false")
        return value == "true"
    try:
        return one.plain_kind(value)
    except ValueError:
        raise UserError(f"option '{one.flag}' is '{value}'", f"give a {one.plain_kind.__name__}") from None


def _meant(flag: str, own: Iterable[str], others: Iterable[str]) -> str:
    """Return a hint: the options with a name like that of a flag, or else where they are listed."""
    # The dashes, which all of them have, would make any two alike.
    names = [option.removeprefix("--") for option in (*own, *others)]
    close = difflib.get_close_matches(flag.strip("-"), names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join('--' + name for name in close)}?"
    return f"see edgeopt export --help; the target's own are {', '.join(sorted(own))}"


def share(text: str) -> float:
    """Return 0.05 for ``5%`` and for ``0.05``; what reads it is imported when it is called, for help is free."""
    from edgeopt.options import share as read

    return read(text)


def read_config(path: Path, flags_alone: Collection[str] = ()) -> dict[str, Any]:
    """Return the options in a TOML file, keys as flags without the dashes.

    Raises UserError where it cannot be read, or holds an option of ``flags_alone``.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"'{path}' is not a readable TOML file ({reason(error)})", "write lines such as: precision = 'bf16'"
        ) from error
    if tables := [key for key, value in content.items() if isinstance(value, dict)]:
        raise UserError(f"'{path}' holds the table [{tables[0]}]", "write the options at the top, without tables")
    options = {key.replace("-", "_"): value for key, value in content.items()}
    if misplaced := sorted(options.keys() & set(flags_alone)):
        raise UserError(f"'{path}' holds '{misplaced[0]}', which says how a model is read", "give it as a flag")
    if unknown := sorted(options.keys() & set(_NOT_OPTIONS)):
        raise UserError(f"'{path}' holds '{unknown[0]}', which is not an option", "see edgeopt export --help")
    return options


def taken(stated: dict[str, Any], name: str, flag: str | None, default: str) -> str:
    """Take a text out of the options of a file, and return what the flag says instead, where it is given.

    Raises UserError where the file holds something else than a text.
    """
    value = stated.pop(name, default)
    if not isinstance(value, str):
        raise UserError(f"option '{name}' is {value!r}", "give a text")
    return value if flag is None else flag
