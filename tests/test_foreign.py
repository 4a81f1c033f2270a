"""Exceptions of other code become sentences; faults of edgeopt's own code stay what they are."""

import errno
import json
from typing import Any

import pytest

from edgeopt.errors import UserError
from edgeopt.foreign import foreign, library, reason
from edgeopt.plugins.target import Target


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such width\nsecond line"), "no such width"),
        (KeyError("width"), "KeyError: 'width'"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("\n\n"), "RuntimeError"),
        (RuntimeError("Exception from src/core.cpp:84:\nCheck 'a' failed at src/b.cpp:3:\nno kernel\nmore"), None),
        (RuntimeError("Error(s) in loading state_dict for Net:\n\tMissing key(s): a"), "Missing key(s): a"),
        (RuntimeError("x" * 1000), "x" * 300),
    ],
)
def test_the_reason_is_one_line(error: Any, words: str) -> None:
    assert reason(error) == (words or "Check 'a' failed at src/b.cpp:3: no kernel")


def test_errors_of_other_code_become_sentences_that_name_the_users_line() -> None:
    words = r"^it fails at .*test_foreign.py:\d+: raise SystemExit\(3\).*: SystemExit: 3"
    with pytest.raises(UserError, match=words) as caught, foreign("it fails", "do better"):
        raise SystemExit(3)  # as a user's function may
    assert caught.value.hint == "do better"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "it fails: the memory does not suffice"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "the memory does not suffice"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "'x' cannot be used: No space left on device"),
        (UserError("told already"), "^told already$"),
    ],
    ids=repr,
)
def test_want_of_memory_and_of_space_are_called_by_their_names(error: Any, words: str) -> None:
    for context in (foreign, library):
        with pytest.raises(UserError, match=words), context("it fails", "do better"):
            raise error


def test_faults_of_edgeopts_own_code_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Expecting value"), library("it fails", "do better"):
        json.loads("")
    monkeypatch.setitem(globals(), "__name__", "edgeopt.somewhere")
    with pytest.raises(KeyError), library("it fails", "do better"):
        raise KeyError("a table of edgeopt's")
    with pytest.raises(UserError, match="pybind"), library("it fails", "do better"):
        raise RuntimeError("what pybind raises at the line that called it")


def test_targets_say_whose_code_they_call() -> None:
    class WithLibrary(Target):
        libraries = ("a_vendors_sdk",)

    source = "def fail():\n    raise ValueError('no such layer')\n"
    vendors: dict[str, Any] = {"__name__": "a_vendors_sdk.core"}
    exec(compile(source, "core.py", "exec"), vendors)
    with pytest.raises(UserError, match=r"^it fails at .*test_foreign.py:\d+: vendors\["), foreign("it fails", ""):
        vendors["fail"]()
