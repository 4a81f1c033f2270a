"""The pickles of a TorchScript archive, checked before torch sees them; nothing that they name is looked for or run.

torch reserves the memory that a pickle asks for before it finds that it is damaged, and reads as many numbers of a
storage as the pickle says, whatever the member that holds them.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from pathlib import PurePosixPath
from typing import Any

_READ = ("data", "constants")
"""The pickles of which torch reads the storages; those of the inputs that it was traced with are not written."""
_BYTES = {"ComplexDouble": 16, "ComplexFloat": 8, "Double": 8, "Long": 8, "Float": 4, "Int": 4, "QInt32": 4}
_BYTES |= dict.fromkeys(("Half", "BFloat16", "Short"), 2)
"""Of a number, by type; one byte, or less, in all others."""
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")


def check_pickles(archive: zipfile.ZipFile) -> None:
    """Raise ValueError, or what the parser does, where a pickle is no pickle or a storage is larger than its member."""
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    for path in map(PurePosixPath, sizes):
        if path.suffix not in (".pkl", ".debug_pkl"):
            continue
        content = archive.read(str(path))
        _check_instructions(content)
        for key, size in _storages(content).items() if path.stem in _READ else ():
            member = str(path.with_suffix("") / key)
            if not 0 <= size <= sizes.get(member, 0):
                raise ValueError(f"'{member}' is shorter than the {size} bytes of its tensor")


def _check_instructions(content: bytes) -> None:
    """Raise ValueError where a pickle ends early, holds what is not an instruction, or counts what it does not hold."""
    for number, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        if instruction.name in _PUTS and argument is not None and int(argument) > number:
            raise ValueError(f"object {argument} is kept by instruction {number}")


def _storages(content: bytes) -> dict[str, int]:
    """Return the size in bytes of the storages that a pickle names, by key."""
    reader = _Reader(io.BytesIO(content))
    reader.load()
    return reader.storages


class _Inert(dict[Any, Any]):
    """Takes the place of everything that a pickle makes, and does nothing with what it is given."""

    def __new__(cls, *arguments: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    """Makes nothing, and notes the storages."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> type[_Inert]:
        return type(name, (_Inert,), {})

    def persistent_load(self, saved: Any) -> _Inert:
        _, kind, key, _, count = saved
        size = count * _BYTES.get(kind.__name__.removesuffix("Storage"), 1)
        self.storages[key] = max(self.storages.get(key, 0), size)
        return _Inert()
