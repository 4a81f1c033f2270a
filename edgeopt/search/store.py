"""What a search measured, kept in a file as it goes: the same search goes on where it ended, and knows what it knew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import edgeopt
from edgeopt.calib.cache import cache_folder, write_whole


class Store:
    """Measurements by name, as JSON values, of one search; ``reused`` counts those that were there already."""

    def __init__(self, facts: Iterable[object]) -> None:
        """``facts`` are all that the measurements depend on, beside edgeopt's version."""
        text = "\n".join(map(str, (*facts, edgeopt.__version__)))
        key = hashlib.sha256(text.encode()).hexdigest()
        self.folder = cache_folder().with_name("search")
        self.file = self.folder / f"{key}.json"
        self.values: dict[str, Any] = json.loads(self.file.read_text("utf-8")) if self.file.is_file() else {}
        self.reused = 0

    def recall(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return the measurement of this name; it is made, and kept, where it is not known."""
        if name in self.values:
            self.reused += 1
        else:
            self.values[name] = measure()
            write_whole(self.file, json.dumps(self.values))
        return self.values[name]

    def beside(self, suffix: str) -> Path:
        """Return the name of a file of this search beside the measurements."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.file.with_suffix(suffix)
