"""How long to tune, as users write it: ``90s``, ``5min``, ``1h``, or a number of steps."""

from __future__ import annotations

import re
from dataclasses import replace

from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import UserError, quoted

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
UNBOUNDED_STEPS, UNBOUNDED_SECONDS = 10**9, 1e9


def parse_budget(text: str, options: TuneOptions) -> TuneOptions:
    """Return the options bounded by a duration alone, or by a number of steps of each stage alone.

    Raises UserError where the text is neither, or is zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)|(\d+)(?: ?steps)?", text.strip())
    if found is None:
        raise UserError(
            f"{quoted(text)} is not a budget of tuning", "write a duration (90s, 5min, 1h) or a number of steps (500)"
        )
    if found[3]:
        steps, seconds = int(found[3]), UNBOUNDED_SECONDS
    else:
        steps, seconds = UNBOUNDED_STEPS, float(found[1]) * _UNITS[found[2]]
    if not steps or not seconds:
        raise UserError(f"a budget of {quoted(text)} tunes nothing", "give at least one step or second")
    return replace(options, steps=steps, seconds=seconds)
