"""Read mutated files and report every reader that did anything but read or refuse: ``python -m tests.fuzz``."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import os
import random
import resource
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from unittest import mock

from edgeopt.errors import EdgeoptError
from edgeopt.frontend import torchscript
from edgeopt.plugins import registry
from edgeopt.plugins.worker import Worker
from tests.fuzz.surfaces import MODEL_BYTES, SURFACES, Surface
from tests.fuzz.watch import WORKER, Watch

_MEMORY = 4 * MODEL_BYTES
"""Bytes by which one case may raise the peak of the process: readers hold a file and what is unpacked of it."""


def main() -> int:
    """Run the cases that the command line asks for; the findings are one JSON document on stdout."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="mutated files over all surfaces")
    parser.add_argument("--surface", choices=[surface.name for surface in SURFACES], help="one surface alone")
    parser.add_argument("--case", type=int, help="one case of that surface alone, with its traceback")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("ignore")
    chosen = [surface for surface in SURFACES if arguments.surface in (None, surface.name)]
    share = sum(surface.share for surface in chosen)
    # What is installed is looked through once, not for each file.
    found_once = mock.patch.object(registry, "entry_points", cache(entry_points))
    with tempfile.TemporaryDirectory(prefix="edgeopt-fuzz-") as name, found_once:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        os.environ["TMPDIR"] = tempfile.tempdir = name
        torchscript.WORKER = Worker(WORKER, torchscript.SECONDS)
        watch = Watch(folder)
        runs = [_run(s, round(arguments.count * s.share / share), arguments, folder, watch) for s in chosen]
    findings = [finding for run in runs for finding in run["findings"]]
    print(
        json.dumps({"surfaces": runs, "cases": sum(run["cases"] for run in runs), "findings": len(findings)}, indent=1)
    )
    return 1 if findings else 0


def _run(surface: Surface, count: int, arguments: argparse.Namespace, folder: Path, watch: Watch) -> dict[str, Any]:
    """Read ``count`` mutated files of one kind."""
    seeds = surface.seeds()
    whole = folder / "whole"
    for seed in seeds:
        whole.write_bytes(seed)
        surface.read(whole) if surface.name != "checkpoint" else None  # pickled modules are refused whole, too
    outcomes: Counter[str] = Counter()
    findings = []
    for case in range(count) if arguments.case is None else [arguments.case]:
        choice = random.Random(f"{arguments.seed} {surface.name} {case}")
        path = folder / "damaged"
        path.write_bytes(choice.choice(surface.mutations)(choice.choice(seeds), choice))
        print(f"{surface.name} {case}", file=sys.stderr, flush=True)
        before = _peak()
        finding = _finding(surface, path, watch, outcomes, arguments.case is not None)
        if (grown := _peak() - before) > _MEMORY:
            finding = f"memory grew by {grown} bytes"
        if finding is not None:
            findings.append({"surface": surface.name, "case": case, "what": finding})
    return {"surface": surface.name, "cases": sum(outcomes.values()), **outcomes, "findings": findings}


def _finding(surface: Surface, path: Path, watch: Watch, outcomes: Counter[str], is_shown: bool) -> str | None:
    """Return what a reader did that it must not, or None where it read the file or refused it in a sentence."""
    watch.seen.clear()
    known = set(path.parent.iterdir())
    try:
        with contextlib.redirect_stdout(io.StringIO()), watch.on():
            surface.read(path)
        outcomes["read"] += 1
    except EdgeoptError as error:
        outcomes["refused"] += 1
        if not error.hint or len(error.message) > 2000:
            return f"a refusal without remedy, or of {len(error.message)} characters: {error.message[:200]}"
    except BaseException as error:
        outcomes["crashed"] += 1
        if is_shown:
            traceback.print_exc()
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}:{last.lineno})"
    left = {item.name for item in set(path.parent.iterdir()) - known - {path.parent / "cache"}}
    return "; ".join([*watch.seen, *(f"left {name}" for name in sorted(left))]) or None


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
