"""Runs the command line as a user does, and scrubs from its output what differs between runs and machines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgeopt.cli import main

SCRUBS = (
    (r"\[ *[\d.]+ s\]", "[TIME]"),
    (r"\([\d.]+ s\)", "(TIME)"),
    (r"[\d.,]+ (ns|µs|ms|s)\b", "TIME"),
    (r"\b[\d.]+x\b", "RATIO"),
    (r"[\d.]+ %", "SHARE"),
    (r"\d\.\de-\d\d", "ERROR"),
    (r"[\d.]+ dB", "DB"),
    (r" {2,}", "  "),
    (r"─+", "─"),
    (r"[ \t]+$", ""),
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function from arguments to (exit code, stdout, stderr), run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


@pytest.fixture
def scrubbed(run: Any) -> Any:
    """Return a function from arguments to one text: command, exit code, stdout, stderr, scrubbed."""

    def call(*arguments: str) -> str:
        code, out, err = run(*arguments)
        text = f"$ edgeopt {' '.join(arguments)}\nexit code: {code}\n--- stdout\n{out}--- stderr\n{err}"
        for pattern, replacement in SCRUBS:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        return text

    return call
