"""Code that is not edgeopt's: its exceptions become one sentence of fact and one of remedy, its chatter is silenced."""

from __future__ import annotations

import io
import linecache
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import FrameType

from edgeopt.errors import EdgeoptError, UserError
from edgeopt.files import explained, is_circumstance

OTHER_TARGET = "choose another target, or replace the operators that the reason names"
"""Remedy where a vendor's library fails on a program."""

_LONGEST = 300
_LIBRARIES = {"edgeopt", "torch", "numpy", "safetensors", *sys.stdlib_module_names}
_OUT_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory|bad_alloc|out of memory|bad allocation", re.I)
_FOREWORD = re.compile(r"Exception from |Traceback|While executing|The above exception|Error\(s\) in loading")


def reason(error: BaseException) -> str:
    """Return an exception's own words in one line: the first that says something, and what a colon announces."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not _FOREWORD.match(line)]
    end = next((number for number, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    told = " ".join(lines[:end])
    if not told or isinstance(error, KeyError | IndexError | AssertionError | StopIteration | SystemExit):
        told = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return told[:_LONGEST]


def first_error(said: str) -> str:
    """Return of what a compiler or linker said the line that tells most: its first error, or its first line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line and not line.startswith("collect2")]
    return (errors or lines or ["it does not say why"])[0][:_LONGEST]


def add_libraries(names: Iterable[str]) -> None:
    """Say of packages that their code is not the user's: an exception is shown at the user's line that called it."""
    _LIBRARIES.update(names)


def user_line(error: BaseException) -> str:
    """Return `` at file.py:12: code`` of the user's own line that an exception came from, or an empty string."""
    own = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if not _is_library(frame)]
    if not own:
        return ""
    frame, line = own[-1]
    file = frame.f_code.co_filename
    return f" at {file}:{line}: {linecache.getline(file, line).strip()}"


def _is_library(frame: FrameType) -> bool:
    return _package(frame) in _LIBRARIES or frame.f_code.co_filename.startswith("<")


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


@contextmanager
def foreign(fact: str, remedy: str) -> Iterator[None]:
    """Raise UserError ``fact: reason`` with this remedy where code that is not edgeopt's fails.

    What edgeopt raises itself passes, and want of memory or a full disk is called by its name. Code of the user's may
    even try to end the process: that, too, is a failure.
    """
    try:
        yield
    except (EdgeoptError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise translated(error, fact, remedy) from error


@contextmanager
def library(fact: str, remedy: str) -> Iterator[None]:
    """Raise UserError as ``foreign`` does, but let a fault of edgeopt's own code in the block be seen as one."""
    try:
        yield
    except EdgeoptError:
        raise
    except Exception as error:
        if _is_own_fault(error):
            raise
        raise translated(error, fact, remedy) from error


def _is_own_fault(error: Exception) -> bool:
    """Return whether a plain exception comes from edgeopt's own line, and not from what it called."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return _package(frame) == "edgeopt" and type(error).__module__ == "builtins" and not isinstance(error, RuntimeError)


def translated(error: BaseException, fact: str, remedy: str) -> UserError:
    """Return what ``foreign`` raises in place of an exception."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error))):
        return UserError(
            f"{fact}: the memory does not suffice", "give smaller shapes, or run it on a machine with more memory"
        )
    if isinstance(error, OSError) and is_circumstance(error):
        return explained(error)
    return UserError(f"{fact}{user_line(error)}: {reason(error)}", remedy)


@contextmanager
def logged_errors(name: str) -> Iterator[list[BaseException]]:
    """Yield the exceptions that a logger is given in the block, which are written nowhere else."""
    found: list[BaseException] = []
    logger, handler = logging.getLogger(name), _Collector(found)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


class _Collector(logging.Handler):
    """Appends the exceptions of log records to a list."""

    def __init__(self, found: list[BaseException]) -> None:
        super().__init__()
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.found.append(record.exc_info[1])


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch's warnings and log lines: what matters in them is raised as an error of our own."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
