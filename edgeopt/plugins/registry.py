"""Targets and passes by entry point; an unknown name gets the nearest known ones.

A package of your own adds to the groups ``edgeopt.targets`` and ``edgeopt.passes`` and is found here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypeVar

from edgeopt.errors import EdgeoptError, UserError, nearest, quoted

if TYPE_CHECKING:
    from edgeopt.ir.pass_base import Pass
    from edgeopt.plugins.target import Target

T = TypeVar("T")

log = logging.getLogger(__name__)


def target_names() -> tuple[str, ...]:
    """Return the installed targets' names."""
    return tuple(sorted(_entries("edgeopt.targets")))


def pass_names() -> tuple[str, ...]:
    """Return the installed passes' names."""
    return tuple(sorted(_entries("edgeopt.passes")))


def target_class(name: str) -> type[Target]:
    """Return the target class of that name.

    Raises UserError with the nearest names where there is none.
    """
    return _load("edgeopt.targets", name, "target")


def target_classes() -> dict[str, type[Target]]:
    """Return the targets by name; one that cannot be imported is left out with a warning."""
    return _importable(target_names(), target_class)


def pass_class(name: str) -> type[Pass]:
    """Return the pass class of that name.

    Raises UserError with the nearest names where there is none.
    """
    return _load("edgeopt.passes", name, "pass")


def pass_classes() -> dict[str, type[Pass]]:
    """Return the passes by name; one that cannot be imported is left out with a warning."""
    return _importable(pass_names(), pass_class)


def resolve(request: str) -> Target:
    """Return the target for ``target``, a device or its alias, or ``target:device``.

    A bare target name means its first device. Raises UserError with the nearest names otherwise.
    """
    name, _, device = request.partition(":")
    if name in _entries("edgeopt.targets"):
        cls = target_class(name)
        for candidate in cls.devices():
            if device in ("", candidate.name, *candidate.aliases):
                return cls(candidate)
        known = [d.name for d in cls.devices()]
        raise UserError(f"target '{name}' has no device {quoted(device)}", nearest(device, known))
    offered = {}
    for cls in target_classes().values():
        for candidate in cls.devices():
            offered.update(dict.fromkeys((candidate.name, *candidate.aliases), (cls, candidate)))
    if request in offered:
        cls, candidate = offered[request]
        return cls(candidate)
    raise UserError(f"unknown target {quoted(request)}", nearest(request, [*target_names(), *offered]))


def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _importable(names: Iterable[str], load: Callable[[str], T]) -> dict[str, T]:
    classes = {}
    for name in names:
        try:
            classes[name] = load(name)
        except EdgeoptError as error:
            log.warning("%s; %s", error.message, error.hint)
    return classes


def _load(group: str, name: str, what: str) -> type:
    entries = _entries(group)
    if name not in entries:
        raise UserError(f"unknown {what} {quoted(name)}", nearest(name, entries))
    try:
        loaded: type = entries[name].load()
        return loaded
    except (ImportError, AttributeError) as error:
        raise EdgeoptError(
            f"{what} '{name}' cannot be imported: {error}", "reinstall the package it comes from"
        ) from error
