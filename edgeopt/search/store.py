"""What a search measured, kept in a file as it goes: the same search goes on where it ended, and knows what it knew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgeopt.calib.cache import cache_folder
from edgeopt.errors import UserError
from edgeopt.files import write_whole, writing
from edgeopt.sources import source_digest

T = TypeVar("T")


class Store:
    """Measurements by name, as JSON values, of one search; ``reused`` counts those that were there already."""

    def __init__(self, facts: Iterable[object]) -> None:
        """``facts`` are all that the measurements depend on, beside edgeopt's own sources.

        Raises UserError where the file is damaged.
        """
        text = "\n".join(map(str, (*facts, source_digest())))
        key = hashlib.sha256(text.encode()).hexdigest()
        self.folder = cache_folder().with_name("search")
        self.file = self.folder / f"{key}.json"
        self.values = self._read() if self.file.is_file() else {}
        self.reused = 0

    def recall(self, name: str, measure: Callable[[], T], form: type[T]) -> T:
        """Return the measurement of this name; it is made, and kept, where it is not known.

        Raises UserError where what is known does not have this form.
        """
        adapter = TypeAdapter(form)
        if name in self.values:
            try:
                found = adapter.validate_python(self.values[name])
            except ValidationError as error:
                raise self._damaged(f"'{name}' is not what it should be") from error
            self.reused += 1
            return found
        made = measure()
        self.values[name] = adapter.dump_python(made)
        write_whole(self.file, json.dumps(self.values))
        return made

    def beside(self, suffix: str) -> Path:
        """Return the name of a file of this search beside the measurements."""
        with writing(self.file):
            self.folder.mkdir(parents=True, exist_ok=True)
        return self.file.with_suffix(suffix)

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self.file.read_text("utf-8"))
        except ValueError as error:
            raise self._damaged("it is not JSON") from error
        if not isinstance(values, dict):
            raise self._damaged("it holds no measurements by name")
        return values

    def _damaged(self, reason: str) -> UserError:
        return UserError(
            f"{self.file}, where a search keeps its measurements, is damaged: {reason}", "remove it to measure anew"
        )
