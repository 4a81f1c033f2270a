"""The options with which every command that reads a model reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeopt.cli.options import flags, given
from edgeopt.frontend.load import LoadOptions
from edgeopt.options import changed, declared

NAMES = tuple(declared(LoadOptions))


def loading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the loading options to a command."""
    return flags(declared(LoadOptions))(command)


def load_options(**values: Any) -> LoadOptions:
    """Return the parsed loading options."""
    return changed(LoadOptions(), given(values))
