"""stdout and stderr while a command runs: a reader that has read enough is not a failure, a full disk is one error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from edgeopt.errors import UserError


@contextmanager
def guarded() -> Iterator[None]:
    """Put guards before both streams.

    A closed pipe (``| head -1``) ends nothing: what is left goes nowhere. Results that stdout does not take otherwise
    raise UserError; lines of the log are lost without a word.
    """
    results, log = _Guard(sys.stdout, strict=True), _Guard(sys.stderr, strict=False)
    with redirect_stdout(cast(TextIO, results)), redirect_stderr(cast(TextIO, log)):
        yield


class _Guard:
    """A text stream that fails only where it is ``strict``, and never for want of a reader."""

    def __init__(self, stream: TextIO, strict: bool) -> None:
        self._stream = stream
        self._strict = strict
        self._lost: UserError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        with self._failing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with self._failing():
            self._stream.flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        if self._lost is not None:
            raise self._lost  # click tries a stream before it prints, and passes over errors
        try:
            yield
        except OSError as error:
            # Python flushes once more when it ends, and would fail there.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if self._strict and not isinstance(error, BrokenPipeError):
                self._lost = UserError(f"the results cannot be printed: {error.strerror}", "send stdout elsewhere")
                raise self._lost from error
