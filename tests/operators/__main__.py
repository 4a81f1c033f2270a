"""Run every case on every target and write the manual's table: ``python -m tests.operators [--results FILE]``.

The file keeps the outcomes, so that a sweep that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import astuple
from pathlib import Path

from tests.operators import sweep, table
from tests.operators.runner import Outcome

_AT_ONCE = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="JSON file that keeps the outcomes")
    file = parser.parse_args().results
    results = _read(file) if file is not None and file.exists() else {}
    for index in range(sweep.SHARDS):
        cases = [case for case in sweep.shard(index) if case.name not in results]
        for start in range(0, len(cases), _AT_ONCE):
            results.update(sweep.run(cases[start : start + _AT_ONCE]))
            print(f"shard {index + 1} of {sweep.SHARDS}: {start + _AT_ONCE} of {len(cases)}", flush=True)
            if file is not None:
                file.write_text(json.dumps(_plain(results), indent=0))
    table.FILE.write_text(table.text(results), "utf-8")


def _read(file: Path) -> sweep.Results:
    content = json.loads(file.read_text("utf-8"))
    return {name: {target: Outcome(*pair) for target, pair in found.items()} for name, found in content.items()}


def _plain(results: sweep.Results) -> dict[str, dict[str, tuple[str, str]]]:
    return {name: {target: astuple(outcome) for target, outcome in found.items()} for name, found in results.items()}


if __name__ == "__main__":
    main()
