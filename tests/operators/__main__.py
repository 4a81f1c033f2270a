"""Run every case on every target and write the manual's table: ``python -m tests.operators [--results FILE]``.

The file keeps the outcomes, so that a sweep that was stopped goes on where it was. ``--shard N`` runs one shard alone,
and leaves the manual as it is.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import astuple
from pathlib import Path

from edgeopt.plugins.registry import resolve
from tests import exporting
from tests.operators import sweep, table
from tests.operators.runner import TARGETS, Outcome

_AT_ONCE = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="JSON file that keeps the outcomes")
    parser.add_argument("--shard", type=int, choices=range(sweep.SHARDS), help="run this one alone")
    given = parser.parse_args()
    if given.shard is not None:
        installed = tuple(target for target in TARGETS if resolve(target).probe().found)
        text = _text(sweep.run(sweep.shard(given.shard), installed))
        print(text) if given.results is None else given.results.write_text(text, "utf-8")
    else:
        table.FILE.write_text(table.text(_all(given.results)), "utf-8")


def _all(file: Path | None) -> sweep.Results:
    results = read(file) if file is not None and file.exists() else {}
    for index in range(sweep.SHARDS):
        cases = [case for case in sweep.shard(index) if case.name not in results]
        for start in range(0, len(cases), _AT_ONCE):
            results.update(sweep.run(cases[start : start + _AT_ONCE]))
            print(f"shard {index + 1} of {sweep.SHARDS}: {start + _AT_ONCE} of {len(cases)}", flush=True)
            if file is not None:
                file.write_text(_text(results), "utf-8")
    return results


def read(file: Path) -> sweep.Results:
    """Return the outcomes that a file keeps."""
    content = json.loads(file.read_text("utf-8"))
    return {name: {target: Outcome(*pair) for target, pair in found.items()} for name, found in content.items()}


def _text(results: sweep.Results) -> str:
    plain = {name: {target: astuple(outcome) for target, outcome in of.items()} for name, of in results.items()}
    return json.dumps(plain, indent=0)


if __name__ == "__main__":
    with exporting.often():
        main()
