"""Operators of our own, one file each: schema, torch implementation, shape rule and descriptor."""

from __future__ import annotations

import logging
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from edgeopt.errors import UserError
from edgeopt.foreign import reason
from edgeopt.ops.operator import Operator

GROUP = "edgeopt.operators"
"""Entry points of other packages' operators; each names an ``Operator`` that its module registers."""

log = logging.getLogger(__name__)


@cache
def register_all() -> None:
    """Make every operator known to torch, without which it reads no archive that calls one.

    An operator of another package that cannot be imported is left out with a warning. Raises UserError where one is
    defined twice: torch keeps the last, whichever that is.
    """
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
        except UserError as error:
            raise UserError(f"{error.message}, the last time by {entry.value}", error.hint) from error
        except Exception as error:  # whatever another package's module raises
            log.warning(
                "operator '%s' cannot be imported: %s; reinstall the package it comes from", entry.name, reason(error)
            )
            continue
        if not isinstance(loaded, Operator):
            kind = type(loaded).__name__
            log.warning("operator '%s' is a %s, not an Operator; name what register() returned", entry.name, kind)
