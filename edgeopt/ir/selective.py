"""Passes that leave some places alone on request, and need not find out again what an earlier run found out.

The gates and the search run such a pass again and again, each time with other places left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from edgeopt.ir.context import Context, Need
from edgeopt.ir.pass_base import Pass, PassResult

FITS: Need[Mapping[Pass, Any]] = Need("what an earlier run fitted", "leave it out: it is fitted anew")
"""By pass that leaves nothing alone, the ``fits`` of its result."""


@dataclass(frozen=True)
class FittedResult(PassResult):
    """``fits``: what the pass fitted to data, in a form of its own; None where nothing was to be fitted."""

    fits: Any = None


@dataclass(frozen=True)
class SelectivePass(Pass):
    """A pass that leaves the places in ``keep`` as they are."""

    keep: Collection[str] = field(default=frozenset(), kw_only=True)

    @property
    def everywhere(self) -> Self:
        """The same pass, which leaves nothing alone."""
        return replace(self, keep=frozenset())

    def fitted(self, context: Context) -> Any:
        """Return what an earlier run of the pass fitted, whatever it left alone; None where there is nothing."""
        known = context.get(FITS)
        return None if known is None else known.get(self.everywhere)
