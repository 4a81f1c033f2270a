"""The manual's table of operators, written from the outcomes of the sweep and read back by its test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.operators.runner import TARGETS, Outcome
from tests.operators.sweep import Results

FILE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
COMMAND = "python -m tests.operators"

_HEAD = f"""# Operators, one by one

Every operator of torch's own database of samples, and forms of layers that are unusual, run on each target and held
against torch eager: shape, type and integers exactly, floats within 2e-5 of the output's largest value (or ten times
what float32 itself is off). Written by `{COMMAND}`; `make test-all` runs
them all. An operator without a row has not been run since it was last changed.

- **equal**: the target computes what torch computes.
- **decomposed**: so it does, from a plain form that `edgeopt/decompositions/` writes before the exporter.
- **refused**: edgeopt says in one sentence why not, and writes nothing.
- **untraced**: torch.export does not take it, before edgeopt or any target.
- **random**: its numbers are drawn at random; nothing can be compared.
- **wrong**, **fault**: it differs, or fails without a sentence; to be mended.
"""

_ORDER = ("equal", "decomposed", "random", "untraced", "refused", "fault", "wrong")
_LONGEST = 110


def text(results: Results) -> str:
    """Return the manual: how many cases have which outcome, and a row an operator."""
    rows = defaultdict(lambda: defaultdict(list))  # type: ignore[var-annotated]
    for name, found in results.items():
        for target, outcome in found.items():
            rows[name.split(" ")[0]][target].append(outcome)
    titles = ["operator", *TARGETS]
    lines = [_row(titles), _row(["---"] * len(titles))]
    for operator in sorted(rows, key=str.lower):
        lines.append(_row([f"`{operator}`", *(_cell(rows[operator][target]) for target in TARGETS)]))
    return f"{_HEAD}\n{_counts(results)}\n\n" + "\n".join(lines) + "\n"


def _counts(results: Results) -> str:
    titles = ["cases", *_ORDER]
    lines = [_row(titles), _row(["---"] * len(titles))]
    for target in TARGETS:
        kinds = [found[target].kind for found in results.values() if target in found]
        lines.append(_row([target, *(str(kinds.count(kind)) for kind in _ORDER)]))
    return "\n".join(lines)


def _cell(outcomes: Iterable[Outcome]) -> str:
    reasons: dict[str, str] = {}
    for outcome in outcomes:
        reasons.setdefault(outcome.kind, _short(outcome.reason) if outcome.kind != "untraced" else "")
    parts = [f"{kind}: {reasons[kind]}" if reasons[kind] else kind for kind in _ORDER if kind in reasons]
    return "; ".join(parts)


def _short(reason: str) -> str:
    plain = re.sub(r"^\w+: ", "", reason).replace("|", "/").replace("<", "(").replace(">", ")")
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def kinds() -> dict[str, dict[str, set[str]]]:
    """Return the kinds of outcome that the manual names, by operator and target."""
    found = {}
    for line in FILE.read_text("utf-8").splitlines():
        operator, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if operator.startswith("`") and len(cells) == len(TARGETS):
            parts = [{part.split(":")[0].strip() for part in cell.split(";")} for cell in cells]
            found[operator.strip("`")] = dict(zip(TARGETS, parts, strict=True))
    return found
