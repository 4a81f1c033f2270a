"""A target's own options as flags: ``--opset 20`` for a field ``opset`` of its options."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from edgeopt.errors import UserError, nearest
from edgeopt.plugins.target import Target

_NOT_OPTIONS = ("model", "on_progress", "options")
"""What export() is given beside its options."""


def parse_flags(target: Target, arguments: Sequence[str], others: Collection[str] = ()) -> dict[str, Any]:
    """Return the target's options given as ``--name value`` or ``--name=value``; booleans need no value. ``others``
    are flags that may be meant by an unknown one.

    Raises UserError for a name that is not an option of the target, or a value of another type.
    """
    kinds = _kinds(target)
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag, has_value, value = rest.pop(0).partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("-"):
            raise UserError(f"'{flag}' is one argument too many", "export one model at a time")
        if not flag.startswith("--") or name not in kinds:
            raise UserError(f"target '{target.name}' has no option '{flag}'", _meant(flag, kinds, others))
        if not has_value and kinds[name] is not bool:
            if not rest:
                raise UserError(f"option '{flag}' has no value", f"give a {kinds[name].__name__}")
            value = rest.pop(0)
        values[name] = _convert(flag, kinds[name], value or "true")
    return values


def _meant(flag: str, kinds: Iterable[str], others: Iterable[str]) -> str:
    """Return a hint: the options with a name like that of a flag, or else the target's own."""
    own = ["--" + kind.replace("_", "-") for kind in kinds]
    # The dashes, which all of them have, would make any two alike.
    names = [option.removeprefix("--") for option in (*own, *others)]
    close = difflib.get_close_matches(flag.strip("-"), names, n=3, cutoff=0.6)
    return f"did you mean {' or '.join('--' + name for name in close)}?" if close else nearest(flag, own)


def read_config(path: Path, flags_alone: Collection[str] = ()) -> dict[str, Any]:
    """Return the options in a TOML file, keys as flags without the dashes.

    Raises UserError where it cannot be read, or holds an option of ``flags_alone``.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"'{path}' is not a readable TOML file ({error})", "write lines such as: precision = 'bf16'"
        ) from error
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


def _kinds(target: Target) -> dict[str, type]:
    hints = typing.get_type_hints(target.Options)
    return {f.name: _kind(hints[f.name]) for f in dataclasses.fields(target.Options)}


def _kind(hint: Any) -> type:
    """Return ``int`` for ``int`` and for ``int | None``."""
    if isinstance(hint, types.UnionType):
        return next(kind for kind in hint.__args__ if kind is not types.NoneType)
    return hint if isinstance(hint, type) else str


def _convert(flag: str, kind: type, value: str) -> Any:
    if kind is bool:
        if value not in ("true", "false"):
            raise UserError(f"option '{flag}' is '{value}'", "give true or false")
        return value == "true"
    try:
        return kind(value)
    except ValueError:
        raise UserError(f"option '{flag}' is '{value}'", f"give a {kind.__name__}") from None
