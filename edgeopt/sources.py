"""The content of edgeopt's own code, which everything that is kept between runs was computed by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("edgeopt", "edgeopt.calib", "edgeopt.kernels", "edgeopt.targets")
_LEFT_OUT = ("__pycache__",)


@cache
def source_digest() -> str:
    """Return the SHA-256 of edgeopt's files as they are installed, read once for a process."""
    return digest_of(Path(folder) for name in PACKAGES for folder in folders_of(name))


def digest_of(folders: Iterable[Path]) -> str:
    """Return the SHA-256 of all files in folders: of their names there, and of their bytes."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not any(part in _LEFT_OUT for part in path.parts):
                content = path.read_bytes()
                digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def folders_of(package: str) -> Iterable[str]:
    """Return the folders that a package is installed in, none where it is not."""
    spec = find_spec(package)
    return (spec.submodule_search_locations or ()) if spec is not None else ()
