"""What was computed before, found by the content of what it was computed from.

The key hashes the program (operators, constants), the data, the method and edgeopt's own sources: a changed byte in any
of them is another key.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from edgeopt.ir.program import Program
from edgeopt.sources import source_digest


def program_digest(program: Program) -> str:
    """Return the SHA-256 of a program's operators and constants."""
    digest = hashlib.sha256(program.text().encode())
    for name, tensor in sorted(program.constants.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return where results are kept: ``$XDG_CACHE_HOME/edgeopt/calibration``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeopt" / "calibration"


@dataclass(frozen=True)
class Entry:
    """Place of one result and of the half-way state that leads to it."""

    folder: Path
    key: str

    @classmethod
    def of(cls, folder: Path, model: str, data: str, method: str) -> Entry:
        """Return the entry of these contents; hashes are hexadecimal."""
        parts = "\n".join((model, data, method, source_digest()))
        return cls(folder, hashlib.sha256(parts.encode()).hexdigest())

    @property
    def result(self) -> Path:
        """The finished result."""
        return self.folder / f"{self.key}.json"

    @property
    def checkpoint(self) -> Path:
        """The half-way state."""
        return self.folder / f"{self.key}.partial.json"
