"""Work in a process of its own, for what may crash there: it is given a request a line and answers each by a line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Ended(Exception):
    """The process ended before it answered; the message says how: ``SIGSEGV``, ``exit code 3``."""


class Worker:
    """A process that runs a script of Python's; the first request starts it, and the first one after its end again."""

    def __init__(self, script: Path, seconds: float = threading.TIMEOUT_MAX) -> None:
        """``seconds``: the longest that an answer may take."""
        self._script = script
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: Mapping[str, Any]) -> str:
        """Return the line that the process answers to a request, which it is given as JSON.

        Raises Ended where the process ends instead, or takes too long.
        """
        if self._process is None:
            # -P: the folder of the script is not where modules are looked for.
            command = [sys.executable, "-P", str(self._script)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process, begun = self._process, time.monotonic()
        watch = threading.Timer(self._seconds, process.kill)
        watch.daemon = True
        watch.start()
        try:
            answer = _answer(process, json.dumps(request))
        finally:
            watch.cancel()
        if not answer:
            self._process, code = None, process.wait()
            is_late = time.monotonic() - begun >= self._seconds
            raise Ended(f"no answer within {self._seconds:g} s" if is_late else _told(code))
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


def _answer(process: subprocess.Popen[str], request: str) -> str:
    """Return the next line of a process, an empty text where it has ended."""
    assert process.stdin is not None and process.stdout is not None
    try:
        print(request, file=process.stdin, flush=True)
        return process.stdout.readline()
    except BrokenPipeError:
        return ""


def _told(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
