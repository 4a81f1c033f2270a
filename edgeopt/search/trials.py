"""Configurations tried out: each compiled, run, held against the original, and measured in turn with the exact one."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeopt.candidate.compile import observed, tried
from edgeopt.candidate.gate import answers
from edgeopt.candidate.measure import MeasurePlan, measure
from edgeopt.candidate.stages import OnProgress, Prepared, Request
from edgeopt.plugins.target import FLOATS, Session
from edgeopt.records.search import Trial
from edgeopt.search.mixed_precision import MixedPrecision
from edgeopt.search.path import Mix
from edgeopt.search.store import Store

_PLAN = MeasurePlan(min_runs=10, min_seconds=0.2, max_seconds=1.0)


@dataclass(frozen=True)
class Tried:
    """A configuration, the format of what stays in float (empty where there is no choice), and what it showed."""

    mix: Mix
    rest: str
    trial: Trial

    @property
    def formats(self) -> Mix:
        """The format of each layer, in float that of what stays there."""
        return _formats(self.mix, self.rest)


class Trials:
    """The trials of one search, each made once. ``floats``: formats of what stays in float, the exact one first."""

    def __init__(
        self, configuration: MixedPrecision, floats: tuple[str, ...], prepared: Prepared, request: Request, store: Store
    ) -> None:
        self.configuration, self.floats, self.prepared, self.request, self.store = (
            configuration,
            floats,
            prepared,
            request,
            store,
        )
        self.made: dict[str, Tried] = {}
        self._stack = ExitStack()
        self._exact: Session | None = None
        self._observed = observed(prepared, request)

    @property
    def exact(self) -> str:
        """The format of what stays in float in the exact configuration; an empty string where nothing does."""
        return self.floats[0] if self.floats else ""

    def of(self, mix: Mix, rest: str, on_progress: OnProgress) -> Trial:
        """Return what a configuration shows whose other layers are in ``rest``."""
        key = f"trial {rest} {json.dumps(mix, sort_keys=True)}"
        if key not in self.made:
            counts = counted(_formats(mix, rest))
            on_progress(f"auto: trying {', '.join(f'{name} {count}' for name, count in counts.items())}")
            self.made[key] = Tried(mix, rest, self.store.recall(key, lambda: self._run(mix, rest), Trial))
        return self.made[key].trial

    def asking(self, rest: str) -> Request:
        """Return the request with this format of what stays in float."""
        if len(self.floats) < 2:
            return self.request
        options: Any = self.request.target_options
        return replace(self.request, target_options=replace(options, float_precision=rest))

    def close(self) -> None:
        """Close the exact configuration's session."""
        self._stack.close()

    def _run(self, mix: Mix, rest: str) -> Trial:
        program, _ = self.configuration.program(mix)
        with tried(program, self.asking(rest), self._observed) as (candidate, session):
            error, accuracy = answers(
                session.run, self.prepared.reference, self.prepared.samples, self.prepared.labeled
            )
            both = {"trial": session, "exact": self._opened_exact()}
            timings = measure(both, dict.fromkeys(both, self.prepared.samples[0]), _PLAN)
        median = {name: float(np.median(timing.costs)) for name, timing in timings.items()}
        return Trial(
            counts=counted(_formats(mix, rest)),
            float_precision=rest or None,
            error=error,
            accuracy=accuracy,
            bytes=candidate.bytes,
            latency=median["trial"],
            speedup=median["exact"] / median["trial"],
        )

    def _opened_exact(self) -> Session:
        if self._exact is None:
            program, _ = self.configuration.program(self.configuration.uniform(self.configuration.formats[0]))
            _, self._exact = self._stack.enter_context(tried(program, self.asking(self.exact), self._observed))
        return self._exact


def counted(formats: Mix) -> dict[str, int]:
    """Return the number of layers by format, the most frequent first."""
    return dict(Counter(formats.values()).most_common())


def _formats(mix: Mix, rest: str) -> Mix:
    return {layer: rest if name in FLOATS else name for layer, name in mix.items()}
