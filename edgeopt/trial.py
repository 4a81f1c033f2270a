"""A candidate tried out: compiled for the target, opened, and held against the original's answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeopt.accuracy import classes
from edgeopt.compare import Error, ErrorSum
from edgeopt.evidence import Prepared, Request
from edgeopt.program import Program
from edgeopt.target import Session


@contextmanager
def opened(program: Program, request: Request) -> Iterator[tuple[Session, int]]:
    """Compile a candidate and open it: yield the session, and the bytes it takes where it is deployed."""
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as name:
        folder = Path(name)
        artifact = request.target.compile(program, folder, request.target_options)
        session = request.target.open(folder, request.target_options)
        try:
            yield session, artifact.stored(folder)
        finally:
            session.close()


def answers(session: Session, prepared: Prepared) -> tuple[Error, float | None]:
    """Return the error on the verification inputs, and the accuracy where there is labelled data."""
    total = ErrorSum()
    for sample, expected in zip(prepared.samples, prepared.reference, strict=True):
        total.add(expected, session.run(sample))
    labelled = prepared.labelled
    if labelled is None:
        return total.result(), None
    return total.result(), float(np.mean(classes(labelled.data, session.run) == labelled.labels))
