"""What a reader wants first: where it runs, how exact, how fast, how large, and whether the limits hold."""

from __future__ import annotations

from edgeopt.report import figures
from edgeopt.report.blocks import Fact, Section
from edgeopt.report.run import Run


def summary(run: Run) -> Section:
    """Return the facts that are read at a glance."""
    executed = run.target.precision_executed
    where = f"{run.target.name} on {run.target.device}" + (f" in {executed}" if executed else "")
    clauses = []
    if run.error is not None:
        equal = run.error.max_abs == 0
        distance = "equal to" if equal else f"within {figures.relative(run.error)} of"
        clauses.append(f"outputs {distance} the original's")
    if run.baseline is not None:
        clauses.append(f"{figures.ratio(run.baseline.speedup)} the speed of the plain export")
    if run.not_run is not None:
        clauses.append(f"not run: {run.not_run}")
    lead = f"Exported for {where}" + (": " if clauses else "") + ", ".join(clauses) + "."
    facts = (_latency_fact(run), _error_fact(run), _accuracy_fact(run), _precision_fact(run), _size_fact(run))
    return Section("summary", run.name, lead, (*(f for f in facts if f is not None), _limits_fact(run)))


def _latency_fact(run: Run) -> Fact | None:
    if run.latency is None:
        return None
    value = figures.cost(run.latency.median, run.latency.unit)
    if run.baseline is None:
        return Fact("Latency", value, f"median; p95 {figures.cost(run.latency.p95, run.latency.unit)}")
    baseline = figures.cost(run.baseline.latency.median, run.baseline.latency.unit)
    return Fact("Latency", value, f"{figures.ratio(run.baseline.speedup)} the plain export's speed ({baseline})")


def _error_fact(run: Run) -> Fact | None:
    if run.error is None:
        return Fact("Error", "not measured", run.not_run or "")
    return Fact("Error", figures.relative(run.error), f"relative to the original; SQNR {figures.sqnr(run.error)}")


def _accuracy_fact(run: Run) -> Fact | None:
    if run.accuracy is None:
        return None
    detail = f"{run.accuracy.metric}; original {figures.percent(run.accuracy.original)}"
    return Fact("Accuracy", figures.percent(run.accuracy.exported), detail)


def _precision_fact(run: Run) -> Fact:
    executed, requested = run.target.precision_executed, run.target.precision_requested
    if executed is None:
        return Fact("Precision", requested, "requested; not run")
    return Fact("Precision", executed, "executed as requested" if executed == requested else f"requested {requested}")


def _size_fact(run: Run) -> Fact:
    number = len(run.artifact.files)
    return Fact("Size", figures.size(run.artifact.bytes), f"{number} file{'' if number == 1 else 's'}")


def _limits_fact(run: Run) -> Fact:
    if not run.limits:
        return Fact("Limits", "none stated")
    missed = [limit for limit in run.limits if not limit.ok]
    if missed:
        return Fact("Limits", f"{len(missed)} missed", ", ".join(limit.name for limit in missed), "bad")
    return Fact("Limits", "all hold", f"{len(run.limits)} stated", "good")
