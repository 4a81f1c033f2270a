"""The one way from a program to what runs: every artifact that is judged, measured or shipped is compiled here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgeopt.calib.data import open_data
from edgeopt.candidate.stages import Prepared, Request
from edgeopt.errors import Unsupported
from edgeopt.foreign import OTHER_TARGET, library
from edgeopt.ir.program import Program
from edgeopt.ir.provenance import place
from edgeopt.plugins.target import Arrays, Artifact, Session, Target, TargetOptions


@dataclass(frozen=True)
class Compiled:
    """An artifact in its folder, and what opens it. ``bytes``: what it takes where it is deployed."""

    artifact: Artifact
    bytes: int
    folder: Path
    target: Target
    options: TargetOptions

    def open(self) -> Session:
        """Load the artifact.

        Raises ToolchainMissing where it does not run here.
        """
        with library(f"{self.target.name} does not load the artifact", OTHER_TARGET):
            return self.target.open(self.folder, self.options)


def compiled(
    program: Program, folder: Path, target: Target, options: TargetOptions, samples: Iterable[Arrays]
) -> Compiled:
    """Compile a program into ``folder``, which is made; the target may observe its values over ``samples``.

    Raises Unsupported where nodes cannot be placed.
    """
    folder.mkdir(exist_ok=True)
    with library(f"{target.name} does not compile the program", OTHER_TARGET):
        try:
            artifact = target.compile(program, folder, options, samples)
        except Unsupported as error:
            raise _located(error, program) from error
    return Compiled(artifact, artifact.stored(folder), folder, target, options)


def _located(error: Unsupported, program: Program) -> Unsupported:
    """Return the error with the place of each node in the user's model."""
    nodes = {node.name: node for node in program.calls}
    placements = [replace(p, where=place(nodes[p.node])) if p.node in nodes else p for p in error.placements]
    return Unsupported(error.target, placements, error.hint)


@contextmanager
def tried(program: Program, request: Request, samples: Iterable[Arrays]) -> Iterator[tuple[Compiled, Session]]:
    """Compile a candidate into a folder of its own and open it, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as name:
        candidate = compiled(program, Path(name), request.target, request.target_options, samples)
        with closing(candidate.open()) as session:
            yield candidate, session


def observed(prepared: Prepared, request: Request) -> Iterable[Arrays]:
    """Return what a target may observe values on: the calibration data, or else the verification inputs."""
    options = request.options
    if options.quant.calib is None:
        return prepared.samples
    return open_data(options.quant.calib, prepared.program.inputs, options.load.trust)
