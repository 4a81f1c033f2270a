"""Input specs as users write them, sample inputs, and whether arrays fit a program."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from edgeopt.errors import UserError, nearest
from edgeopt.files import reading
from edgeopt.ir.metrics import Arrays, Sample
from edgeopt.ir.program import TensorSpec, dtype_name, numpy_dtype

DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8),
)
"""Types of values that inputs can have."""
LARGEST_SIZE = 2**31 - 1
"""Of a dimension: torch takes a larger bound for none at all."""


@dataclass(frozen=True)
class InputSpec:
    """``NAME:1x3x32x32[:dtype]``; the name may be empty for a model with one input."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """Read ``x:1x3x32x32``, ``x:1,3,32,32:int64`` or ``1x3x32x32``.

        Raises UserError where the text is none of these.
        """
        parts = text.split(":")
        if parts and re.fullmatch(r"\d+([x,]\d+)*", parts[0]):
            parts = ["", *parts]
        dtype = getattr(torch, parts[2], None) if len(parts) == 3 else torch.float32
        has_shape = len(parts) in (2, 3) and re.fullmatch(r"\d+([x,]\d+)*", parts[1])
        if not has_shape or not isinstance(dtype, torch.dtype):
            raise UserError(f"'{text}' is not an input spec", "write NAME:1x3x32x32 or NAME:1x128:int64")
        shape = tuple(int(n) for n in re.split("[x,]", parts[1]))
        if 0 in shape:
            raise UserError(f"'{text}' has a dimension of size 0", "give sizes of at least 1")
        spec = cls(parts[0], shape, dtype)
        spec.check(text)
        return spec

    def check(self, text: str) -> None:
        """Raise UserError where no sample of these values could be made here."""
        if self.dtype not in DTYPES:
            names = ", ".join(map(dtype_name, DTYPES))
            raise UserError(f"'{text}' has values that no input can have", f"choose one of: {names}")
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > (most := memory()):
            raise UserError(
                f"'{text}' takes {size / 2**30:,.0f} GiB, and this machine has {most / 2**30:,.0f}",
                "give smaller sizes",
            )

    def __str__(self) -> str:
        return f"{self.name}:{'x'.join(map(str, self.shape))}:{str(self.dtype).removeprefix('torch.')}"


def memory() -> int:
    """Return the machine's memory in bytes; no bound where the system does not tell, as Windows does not."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else sys.maxsize


@dataclass(frozen=True)
class DynamicSpec:
    """``NAME:AXIS=MIN..MAX``: an input's dimension that may vary at run time.

    One that is not required stays fixed where the model fixes it.
    """

    name: str
    axis: int
    low: int
    high: int
    is_required: bool = True

    @classmethod
    def parse(cls, text: str) -> DynamicSpec:
        """Read ``x:0=1..16``.

        Raises UserError where the text is something else or the bounds are not ordered.
        """
        found = re.fullmatch(r"([^:]+):(\d+)=(\d+)\.\.(\d+)", text)
        if not found:
            raise UserError(f"'{text}' is not a dynamic dimension", "write NAME:AXIS=MIN..MAX, for example x:0=1..16")
        spec = cls(found[1], int(found[2]), int(found[3]), int(found[4]))
        if not 1 <= spec.low < spec.high:
            raise UserError(f"'{text}' has bounds {spec.low}..{spec.high}", "give 1 <= MIN < MAX")
        if spec.high > LARGEST_SIZE:
            raise UserError(f"'{text}' has a size that no dimension can have", f"give at most {LARGEST_SIZE}")
        return spec

    def including(self, size: int) -> DynamicSpec:
        """Return the dimension with bounds that hold a size, too."""
        return replace(self, low=min(self.low, size), high=max(self.high, size))

    def __str__(self) -> str:
        return f"{self.name}:{self.axis}={self.low}..{self.high}"


def load_sample(path: Path) -> Sample:
    """Return the arrays of an ``.npz`` file; that of an ``.npy`` file bears no name.

    Raises UserError where the file is missing, unreadable, or holds pickled objects.
    """
    if not path.exists():
        raise UserError(f"'{path}' does not exist", "check the path of the .npz file")
    with reading(path, "write it with numpy.savez"):
        if path.is_file() and not _is_of_numpy(path):
            raise UserError(f"'{path}' is neither an .npz nor an .npy file", "write it with numpy.savez")
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": content}
        with content as archive:
            return {name: _member(path, archive, name) for name in archive.files}


def _member(path: Path, archive: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UserError(f"array '{name}' of '{path}' holds Python objects", "store plain numbers") from error


def _is_of_numpy(path: Path) -> bool:
    """Return whether a file begins as archives of arrays do; numpy takes all others for pickles."""
    with path.open("rb") as stream:
        return stream.read(6).startswith((b"PK", b"\x93NUMPY"))


def check_inputs(specs: Sequence[TensorSpec], arrays: Arrays) -> None:
    """Raise UserError where ``arrays`` do not fit: names, ranks, static sizes, dtypes, NaN."""
    known = [spec.name for spec in specs]
    for name in arrays:
        if name not in known:
            raise UserError(f"the model has no input '{name}'", nearest(name, known))
    for spec in specs:
        if spec.name not in arrays:
            raise UserError(f"input '{spec.name}' is missing", f"the model reads: {', '.join(map(str, specs))}")
        _check_array(spec, arrays[spec.name])


def _check_array(spec: TensorSpec, array: np.ndarray) -> None:
    shape = "x".join(map(str, array.shape)) or "scalar"
    if not _fits(spec.shape, array.shape):
        raise UserError(f"input '{spec.name}' has shape {shape}", f"the model reads {spec}")
    if array.dtype != numpy_dtype(spec.dtype):
        raise UserError(f"input '{spec.name}' has dtype {array.dtype}", f"the model reads {spec}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise UserError(f"input '{spec.name}' holds NaN", "give finite sample inputs")


def check_spec(specs: Sequence[TensorSpec], given: InputSpec) -> None:
    """Raise UserError where an input spec names no input, or its shape or dtype does not fit."""
    found = next((s for s in specs if s.name == given.name or (not given.name and len(specs) == 1)), None)
    if found is None:
        raise UserError(f"the model has no input '{given.name}'", nearest(given.name, [s.name for s in specs]))
    if not _fits(found.shape, given.shape) or found.dtype != given.dtype:
        asked = TensorSpec(found.name, given.shape, given.dtype)
        raise UserError(f"the input asked for is {asked}", f"the model was traced with {found}")


def _fits(want: Sequence[int | str], got: Sequence[int]) -> bool:
    return len(want) == len(got) and all(isinstance(w, str) or w == g for w, g in zip(want, got, strict=True))
