"""What a reader must not do, seen by Python's audit hooks: start processes, open connections, write elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

WORKER = Path(__file__).with_name("watched_worker.py")
"""What reads TorchScript, under a watch of its own."""


class Watch:
    """Notes what is forbidden while it is on. A hook cannot be taken out: there is one for the life of the process."""

    def __init__(self, allowed: Path) -> None:
        """``allowed``: the folder that may be written to."""
        self.allowed = str(allowed.resolve())
        self.seen: list[str] = []
        self._on = False
        sys.addaudithook(self._hook)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch while the block runs."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in _FORBIDDEN and not _is_of_edgeopt(event, arguments):
            self.seen.append(f"{event} {arguments[:1]}")
        elif event == "open" and isinstance(arguments[0], str) and arguments[2] & _WRITES:
            path = os.path.realpath(arguments[0])
            if not path.startswith((self.allowed, "/dev/")):
                self.seen.append(f"writes {path}")


def _is_of_edgeopt(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether it is the process in which edgeopt has TorchScript read, started anew."""
    return event == "subprocess.Popen" and list(arguments[1]) == [sys.executable, "-P", str(WORKER)]
