"""Whatever goes wrong ends in two lines and exit code 2; a fault of edgeopt leaves a file to send."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from edgeopt.errors import UserError
from edgeopt.plugins.target import Probe
from edgeopt.targets.reference import Reference


@pytest.fixture
def failing(run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs a command which raises the given error."""
    import edgeopt.plugins.registry

    def call(error: Any) -> Any:
        def fail() -> None:
            raise error

        monkeypatch.setattr(edgeopt.plugins.registry, "target_classes", fail)
        return run("targets")

    return call


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (UserError("fact", "remedy"), "error: fact"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "'/data/x' cannot be used: No space left"),
        (KeyboardInterrupt(), "interrupted"),
    ],
    ids=repr,
)
def test_what_is_foreseen(failing: Any, tmp_path: Path, error: Any, fact: Any) -> None:
    code, out, err = failing(error)
    assert code == 2 and out == ""
    lines = err.splitlines()
    assert len(lines) == 2 and fact in lines[0] and lines[1].startswith("hint: "), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError("first line\nsecond line"),
        EOFError(),
        AssertionError(),
        RecursionError("maximum recursion depth exceeded"),
        SystemExit(3),
        BrokenPipeError(errno.EPIPE, "a worker's pipe"),
        FileNotFoundError(errno.ENOENT, "No such file", "kernel.c"),
    ],
    ids=repr,
)
def test_a_fault_leaves_a_file_to_send(failing: Any, tmp_path: Path, error: Any) -> None:
    code, out, err = failing(error)
    assert code == 2 and out == ""
    fact, hint = err.splitlines()
    assert fact.startswith("error: this is a fault of edgeopt: ") and "Traceback" not in err
    (crash,) = tmp_path.iterdir()
    assert crash.name in hint
    text = crash.read_text()
    assert "command: edgeopt targets\n" in text
    assert "torch " in text and "Traceback" in text and type(error).__name__ in text


def test_a_folder_that_takes_no_file_is_passed_over(
    failing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.chdir("/proc")
    code, _, err = failing(ValueError("bad"))
    assert code == 2 and str(tmp_path / "temporary") in err
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/proc")
    code, _, err = failing(ValueError("bad"))
    assert code == 2 and "no file could be written" in err


COMMANDS = (("passes",), ("passes", "--json"), ("explain", "reference"), ("--help",))


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_closed_pipe_is_no_failure(run: Any, monkeypatch: pytest.MonkeyPatch, arguments: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code, _, err = run(*arguments)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_stdout_is_one_error(run: Any, monkeypatch: pytest.MonkeyPatch, arguments: Any) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, _, err = run(*arguments)
    assert code == 2
    assert err == "error: the results cannot be printed: No space left on device\nhint: send stdout elsewhere\n"


def test_a_process_ends_with_the_same_exit_code() -> None:
    # Python itself flushes stdout once more when it ends.
    call = f"{sys.executable} -c 'from edgeopt.cli import main; main()' --version > /dev/full"
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2), done.stderr


@pytest.mark.parametrize("command", ["doctor", "targets"])
def test_the_line_that_installs_keeps_its_brackets(run: Any, monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    missing = Probe(False, {}, "pip install 'edgeopt[all]'")
    monkeypatch.setattr(Reference, "probe", classmethod(lambda cls: missing))
    code, out, _ = run(command)
    assert code == 0 and "'edgeopt[all]'" in out
