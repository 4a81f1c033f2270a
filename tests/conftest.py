"""What all tests share: the same random numbers on every run, and one thread a process, for they run in several."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is imported; processes that tests start inherit both.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Not the user's cache, but one that outlives the run: kernels are compiled once.
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"edgeopt-tests-{os.getuid()}")

import pytest
import torch
from filelock import FileLock

from tests import exporting, objects
from tests.models import mlperf_tiny

ROOT = Path(__file__).resolve().parents[1]
NIGHTLY = ROOT / "tests" / "nightly.txt"


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as nightly the tests that the file lists; of whole modules, a line that names no test is an error."""
    by_module: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_module.setdefault(item.nodeid.partition("::")[0], []).append(item)
    is_whole = not any("::" in argument for argument in config.args)
    for line in NIGHTLY.read_text("utf-8").splitlines():
        module, _, name = line.partition("::")
        pattern = re.compile(re.escape(line).replace(r"\*", ".*"))
        matching = [item for item in by_module.get(module, []) if pattern.fullmatch(item.nodeid)]
        if name and module in by_module and is_whole and not matching:
            raise pytest.UsageError(f"{NIGHTLY.name} names {line}, and there is no such test")
        for item in matching:
            item.add_marker(pytest.mark.nightly)


@pytest.fixture(autouse=True)
def _plots_drawn_where_they_are_looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plots out of reports but where a test is of reports: drawing takes a third of a small export."""
    if request.path.parent.name != "report" and request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr("edgeopt.report.render.svg", lambda plot: f"<p>{plot.alt}</p>")


@pytest.fixture(autouse=True, scope="session")
def _exporting_often() -> Iterator[None]:
    with exporting.often(), objects.compiled_once(Path(os.environ["XDG_CACHE_HOME"]) / "objects"):
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a sample's name to the folder it left, read-only: each is run once for all tests."""
    runs = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        runs = runs.parent  # that of all workers

    def folder(name: str) -> Path:
        output = runs / f"trained-{name}"
        with FileLock(f"{output}.lock"):
            if not output.exists():
                unfinished = output.with_suffix(".unfinished")
                command = [sys.executable, "-m", f"samples.{name}", "--output", str(unfinished)]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                unfinished.rename(output)
        return output

    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what a clone without ``../shared`` leaves untested: among the skipped it would be overlooked."""
    skipped = terminalreporter.stats.get("skipped", [])
    if count := sum(mlperf_tiny.ABSENT in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(
            f"{count} tests did not run: {mlperf_tiny.ABSENT}. {mlperf_tiny.UNTESTED}", yellow=True
        )


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """Give each fixture the same random weights, whichever tests and fixtures ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
