"""The options with which every command that reads a model reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeopt.cli.options import flags, given, names

if TYPE_CHECKING:
    from edgeopt.frontend.load import LoadOptions

NAMES = names("loading")


def loading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the loading options to a command."""
    return flags("loading")(command)


def load_options(**values: Any) -> LoadOptions:
    """Return the parsed loading options."""
    from edgeopt.frontend.load import LoadOptions
    from edgeopt.options import changed

    return changed(LoadOptions(), given(values))
