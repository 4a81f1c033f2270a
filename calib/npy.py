"""Reading ``.npy`` and ``.npz`` row by row, so that memory does not grow with the number of samples."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from edgeopt.errors import UserError
from edgeopt.files import reading

_REMEDY = "write it again with numpy.savez"


def stream_npy(stream: IO[bytes], source: str) -> Iterator[np.ndarray]:
    """Yield the rows (along axis 0) of an array in ``.npy`` format, reading no more than one at a time.

    Raises UserError where it is not an array, holds Python objects, lies in Fortran order, or ends too early.
    """
    shape, dtype = _header(stream, source)
    row_shape = shape[1:]
    size = dtype.itemsize * math.prod(row_shape)
    for index in range(shape[0]):
        with reading(source, _REMEDY):
            content = stream.read(size)
        if len(content) != size:
            raise UserError(f"{source} ends inside sample {index} of {shape[0]}", "write the file again")
        yield np.frombuffer(content, dtype).reshape(row_shape)


def stream_npz(file: Path, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the rows of the named arrays together; arrays that the file lacks are left out.

    Raises UserError where the arrays have different numbers of rows.
    """
    with ExitStack() as stack:
        archive = stack.enter_context(_open(file))
        present = [name for name in names if f"{name}.npy" in archive.namelist()]
        streams = [stack.enter_context(_member(archive, name)) for name in present]
        if not present:
            raise UserError(f"{file} has no array named {' or '.join(names)}", "name the arrays as the inputs")
        lengths = {npy_shape(file, name)[0] for name in present}
        if len(lengths) > 1:
            raise UserError(f"{file} has arrays of {sorted(lengths)} samples", "give each input the same number")
        rows = [stream_npy(s, f"{file}:{name}") for s, name in zip(streams, present, strict=True)]
        for values in zip(*rows, strict=True):
            yield dict(zip(present, values, strict=True))


def npz_arrays(file: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the named arrays of an ``.npz`` whole; those it lacks are left out."""
    with _open(file) as archive:
        present = [name for name in names if f"{name}.npy" in archive.namelist()]
        found = {}
        for name in present:
            with _member(archive, name) as stream:
                rows = list(stream_npy(stream, f"{file}:{name}"))
            if not rows:
                raise UserError(f"{file} has no samples in '{name}'", "give at least one sample")
            found[name] = np.stack(rows)
        return found


def npy_shape(file: Path, name: str) -> tuple[int, ...]:
    """Return the shape of a ``.npy``, or of the array ``name`` of an ``.npz``, from its header."""
    if file.suffix == ".npy":
        with file.open("rb") as stream:
            return _header(stream, str(file))[0]
    with _open(file) as archive:
        if f"{name}.npy" not in archive.namelist():
            raise UserError(f"{file} has no array named {name}", "name the arrays as the inputs")
        with _member(archive, name) as stream:
            return _header(stream, f"{file}:{name}")[0]


def _open(file: Path) -> zipfile.ZipFile:
    with reading(file, _REMEDY):
        return zipfile.ZipFile(file)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    with reading(f"{archive.filename}:{name}", _REMEDY):
        return archive.open(f"{name}.npy")


def _header(stream: IO[bytes], source: str) -> tuple[tuple[int, ...], np.dtype]:
    with reading(source, _REMEDY):
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise UserError(f"{source} holds Python objects", "store plain numbers")
    if not shape:
        raise UserError(f"{source} is a single number", "samples lie along axis 0")
    if fortran and len(shape) > 1:
        raise UserError(f"{source} lies in Fortran order", "store numpy.ascontiguousarray(array)")
    return shape, dtype
