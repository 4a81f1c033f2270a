"""What changed from one export to the next, from their records alone, and limits on it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeopt.deploy.bundle import read_report
from edgeopt.errors import UserError
from edgeopt.records.changes import Changes, FigureChange, Kind, TextChange
from edgeopt.records.limits import Limit, Unit
from edgeopt.records.run import Run

_FIGURES: tuple[tuple[str, Unit, Callable[[Run], float | None]], ...] = (
    ("latency", "latency", lambda run: run.latency.median if run.latency is not None else None),
    ("size", "bytes", lambda run: run.artifact.bytes),
    ("accuracy", "share", lambda run: run.accuracy.exported if run.accuracy is not None else None),
    ("error", "ratio", lambda run: run.error.relative if run.error is not None else None),
    ("sqnr", "dB", lambda run: run.error.sqnr_db if run.error is not None else None),
    ("macs", "number", lambda run: run.model.macs),
    ("parameters", "number", lambda run: run.model.parameters),
)


@dataclass(frozen=True)
class ChangeLimits:
    """The most by which figures may get worse; None where any change is accepted.

    ``slowdown``, ``growth``: of the latency and of the size, as a share of the first's. ``drop``: of the accuracy, in
    share of the samples. ``error``: of the relative error, as the ratio of the second's to the first's.
    """

    slowdown: float | None = None
    growth: float | None = None
    drop: float | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if limit is not None and not 0 <= limit < math.inf:
                raise UserError(f"the limit on {name} is {limit!r}", "give a finite number from 0 up")


def diff(before: Path, after: Path, limits: ChangeLimits) -> Changes:
    """Return what changed from the bundle in ``before`` to that in ``after``.

    Latencies are those of the two exports, which may have run on other machines: a limit on their ratio is judged where
    unit, device and processor are the same. Raises UserError where a folder is no bundle, or its report is damaged.
    """
    old, new = read_report(before), read_report(after)
    return Changes(
        before=str(before),
        after=str(after),
        latency_unit=new.latency.unit if new.latency is not None else "ms",
        figures=tuple(_figures(old, new)),
        texts=tuple(_texts(old, new)),
        limits=tuple(_limits(old, new, limits)),
    )


def _figures(old: Run, new: Run) -> Iterator[FigureChange]:
    for name, unit, read in _FIGURES:
        before, after = read(old), read(new)
        if name == "latency" and _unit(old) != _unit(new):
            before = None
        if before is not None or after is not None:
            yield FigureChange(name, unit, _finite(before), _finite(after))
    for kind in dict.fromkeys((*old.artifact.memory, *new.artifact.memory)):
        yield FigureChange(kind, "bytes", old.artifact.memory.get(kind), new.artifact.memory.get(kind))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _unit(run: Run) -> str | None:
    return run.latency.unit if run.latency is not None else None


def _texts(old: Run, new: Run) -> Iterator[TextChange]:
    for kind, told in _TOLD.items():
        before, after = told(old), told(new)
        for name in dict.fromkeys((*before, *after)):
            if kind == "layer" and not (name in before and name in after):
                continue  # fused otherwise, or named by the runtime
            if before.get(name) != after.get(name):
                yield TextChange(kind, name, before.get(name), after.get(name))


def _settings(run: Run) -> Mapping[str, str]:
    found = {
        "verdict": run.verdict,
        "accepted difference": run.accepted_difference,
        "model": run.model.sha256,
        "target": f"{run.target.name}:{run.target.device}",
        "precision asked for": run.target.precision_requested,
        "precision executed": run.target.precision_executed,
        "hardware": run.target.hardware,
        "quantized operators": str(run.quantization.quantized) if run.quantization is not None else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _passes(run: Run) -> Mapping[str, str]:
    """Return by pass what it did; the second of a name has its number."""
    count: Counter[str] = Counter()
    found = {}
    for one in run.passes:
        count[one.name] += 1
        name = one.name if count[one.name] == 1 else f"{one.name} {count[one.name]}"
        found[name] = f"{one.applied} applied, {len(one.refused)} refused"
    return found


def _layers(run: Run) -> Mapping[str, str]:
    """Return by node of the program the precision in which it ran."""
    executed = run.latency.layers if run.latency is not None else ()
    return {node: layer.precision for layer in executed for node in layer.computes if layer.precision is not None}


_TOLD: Mapping[Kind, Callable[[Run], Mapping[str, str]]] = {
    "setting": _settings,
    "option": lambda run: {name: str(value) for name, value in run.options.items()},
    "version": lambda run: run.versions,
    "pass": _passes,
    "layer": _layers,
    "fallback": lambda run: {one.node: one.reason for one in run.fallbacks},
    "limit": lambda run: {one.name: "holds" if one.ok else "missed" for one in run.limits},
    "file": lambda run: {one.path: f"{one.bytes} B, sha256 {one.sha256[:12]}" for one in run.artifact.files},
}


def _limits(old: Run, new: Run, limits: ChangeLimits) -> Iterator[Limit]:
    judged: tuple[tuple[str, Unit, float | None, float | None], ...] = (
        ("max-slowdown", "share", limits.slowdown, _slowdown(old, new)),
        ("max-growth", "share", limits.growth, new.artifact.bytes / max(old.artifact.bytes, 1) - 1),
        ("max-drop", "share", limits.drop, _drop(old, new)),
        ("max-error-ratio", "number", limits.error, _error_ratio(old, new)),
    )
    for name, unit, limit, value in judged:
        if limit is not None:
            yield Limit(name, "most", unit, limit).judged(value)


def _slowdown(old: Run, new: Run) -> float | None:
    if old.latency is None or new.latency is None or old.latency.median <= 0:
        return None
    if _unit(old) != _unit(new) or old.target.hardware != new.target.hardware:
        return None
    return new.latency.median / old.latency.median - 1


def _drop(old: Run, new: Run) -> float | None:
    if old.accuracy is None or new.accuracy is None:
        return None
    return old.accuracy.exported - new.accuracy.exported


def _error_ratio(old: Run, new: Run) -> float | None:
    if old.error is None or new.error is None:
        return None
    before, after = old.error.relative, new.error.relative
    return after / before if before else 1.0 if after == 0 else None
