"""The manual's table of operators, written from the outcomes of the sweep and read back by its test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.operators import opinfo
from tests.operators.runner import TARGETS, Kind, Outcome
from tests.operators.sweep import Results

FILE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
COMMAND = "python -m tests.operators"

_HEAD = f"""# Operators, one by one

Every operator of torch's own database of samples, in float32 and int64, and forms of layers that are unusual, run on
each target and held against torch eager. Written by `{COMMAND}`; `make test` runs 250 of them,
`make test-all` all.

- **exact**: every number is the one that torch computes.
- **close**: shape, type and integers are; floats lie within 2e-5 of the output's largest value, or within ten times
  what float32 itself is off.
- **refused**: edgeopt, or torch.export before it, says in one sentence why not, and nothing is written.
- **not comparable**: torch does not promise the values, or has no sample that runs on a CPU.
- **wrong**, **fault**: it differs, or fails without a sentence; to be mended.

Where forms of an operator fare differently, the number of the forms stands with each result.
"""

_ORDER: tuple[Kind, ...] = ("exact", "close", "refused", "not comparable", "fault", "wrong")
_UNSAMPLED = Outcome(
    "not comparable",
    f"torch has no sample of it that runs on a CPU, dense and of at most {opinfo.MOST_ELEMENTS} numbers",
)
_NOT_RUN = Outcome("not comparable", "the sweep was stopped before it")
_LONGEST = 150


def text(results: Results) -> str:
    """Return the manual: how many cases have which outcome, and a row an operator."""
    rows: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for name, found in results.items():
        for target, outcome in found.items():
            rows[name.split(" ")[0]][target].append(outcome)
    sampled = {case.operator for case in opinfo.cases()}
    for name in opinfo.names() - rows.keys():
        rows[name].update({target: [_NOT_RUN if name in sampled else _UNSAMPLED] for target in TARGETS})
    titles = ["operator", *TARGETS]
    lines = [_row(titles), _row(["---"] * len(titles))]
    for operator in sorted(rows, key=str.lower):
        lines.append(_row([f"`{operator}`", *(_cell(rows[operator][target]) for target in TARGETS)]))
    return f"{_HEAD}\n{_counts(results, len(rows))}\n\n" + "\n".join(lines) + "\n"


def _counts(results: Results, operators: int) -> str:
    titles = [f"{len(results)} cases, {operators} operators", *_ORDER]
    lines = [_row(titles), _row(["---"] * len(titles))]
    for target in TARGETS:
        kinds = [found[target].kind for found in results.values()]
        lines.append(_row([target, *(str(kinds.count(kind)) for kind in _ORDER)]))
    return "\n".join(lines)


def _cell(outcomes: Sequence[Outcome]) -> str:
    parts = []
    for kind in _ORDER:
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        if of_kind:
            count = f" {len(of_kind)} of {len(outcomes)}" if len(of_kind) < len(outcomes) else ""
            reasons = sorted({_short(outcome.reason) for outcome in of_kind} - {""})
            parts.append(": ".join(filter(None, [f"{kind}{count}", " / ".join(reasons)])))
    return "; ".join(parts)


def _short(reason: str) -> str:
    plain = re.sub(r"^\w+: ", "", reason).translate(str.maketrans("|<>;", "/(),"))
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def kinds() -> dict[str, dict[str, set[str]]]:
    """Return the kinds of outcome that the manual names, by operator and target."""
    found = {}
    for line in FILE.read_text("utf-8").splitlines():
        operator, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if operator.startswith("`") and len(cells) == len(TARGETS):
            parts = [{re.split(r" \d|:", part.strip())[0] for part in cell.split(";")} for cell in cells]
            found[operator.strip("`")] = dict(zip(TARGETS, parts, strict=True))
    return found
