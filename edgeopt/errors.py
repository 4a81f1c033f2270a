"""Every error that edgeopt raises on purpose: one sentence of fact with values, one of remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_LONGEST = 80


def quoted(value: object) -> str:
    """Return what a file holds as a message quotes it: as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class EdgeoptError(Exception):
    """Base of all errors that edgeopt raises on purpose.

    ``message`` states the fact with its values; ``hint`` states the remedy.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(EdgeoptError):
    """The input or the request cannot be used as given."""


class PassError(EdgeoptError):
    """A pass broke its contract; ``last_good`` is the Program it was given, whose history names earlier passes."""

    def __init__(self, message: str, hint: str | None = None, last_good: Any = None) -> None:
        super().__init__(message, hint)
        self.last_good = last_good


@dataclass(frozen=True)
class Placement:
    """A node that a target cannot place, and why; ``where`` it stands in the user's model, after a space."""

    node: str
    op: str
    reason: str
    where: str = ""


class Unsupported(UserError):
    """A target cannot place some nodes of a program; all of them are listed at once."""

    def __init__(self, target: str, placements: Sequence[Placement], hint: str | None = None) -> None:
        lines = "".join(f"\n  {p.node} ({p.op}){p.where}: {p.reason}" for p in placements)
        super().__init__(f"target '{target}' cannot place {len(placements)} node(s):{lines}", hint)
        self.target = target
        self.placements = tuple(placements)


class ToolchainMissing(EdgeoptError):
    """A target's SDK or compiler is not installed; ``install`` is the line that installs it."""

    def __init__(self, what: str, install: str) -> None:
        super().__init__(f"{what} is not installed", f"install it with: {install}")
        self.install = install


class NotRunHere(ToolchainMissing):
    """What is installed does not run the artifact; ``hint`` says what would run here."""

    def __init__(self, message: str, hint: str) -> None:
        EdgeoptError.__init__(self, message, hint)
        self.install = hint


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known names, or all of them."""
    names = sorted(set(known))
    close = (
        difflib.get_close_matches(name, names, n=3, cutoff=0.6) or [one for one in names if name and name in one][:3]
    )
    return f"did you mean {' or '.join(close)}?" if close else f"choose one of: {', '.join(names)}"
