"""A candidate tried out: compiled for the target, opened, and held against the original's answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edgeopt.compare import EQUAL, Error
from edgeopt.evidence import Prepared, Request
from edgeopt.program import Program
from edgeopt.target import Session


@contextmanager
def opened(program: Program, request: Request) -> Iterator[tuple[Session, int]]:
    """Compile a candidate and open it: yield the session, and the bytes it takes where it is deployed."""
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as name:
        folder = Path(name)
        artifact = request.target.compile(program, folder, request.target_options)
        with closing(request.target.open(folder, request.target_options)) as session:
            yield session, artifact.stored(folder)


def answers(session: Session, prepared: Prepared) -> tuple[Error, float | None]:
    """Return the error on the verification inputs, and the accuracy where there is labelled data."""
    error = prepared.reference.compare(map(session.run, prepared.samples)).worst or EQUAL
    return error, prepared.labelled.accuracy(session.run) if prepared.labelled is not None else None
