"""Code of the user's, named on the command line and imported from where he stands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from edgeopt.foreign import foreign


@contextmanager
def user_code(fact: str, remedy: str) -> Iterator[None]:
    """Run code of the user's: modules of the working folder are found, and what it prints goes to the log.

    Raises UserError, ``fact`` with the reason, where it fails.
    """
    sys.path.insert(0, os.getcwd())
    try:
        with foreign(fact, remedy), redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.pop(0)
