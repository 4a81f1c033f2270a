"""The process that reads TorchScript, watched: what it must not do is found as a file beside what it reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

from edgeopt.frontend import torchscript_worker

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz.watch import Watch


class _Left(list[str]):
    """Puts nothing in the list, but a file into a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def append(self, what: str) -> None:
        (self.folder / quote(what, "")[:200]).touch()


folder = Path(os.environ["TMPDIR"])
watch = Watch(folder)
watch.seen = _Left(folder)
with watch.on():
    torchscript_worker.serve()
