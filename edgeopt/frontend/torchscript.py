"""TorchScript archives, which torch reads and converts in a process of its own: damaged ones can crash it."""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from pathlib import Path

import torch

from edgeopt.errors import UserError
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.ir.metrics import Arrays
from edgeopt.plugins.worker import Ended, Worker

SCRIPT = Path(__file__).with_name("torchscript_worker.py")
SECONDS = 600.0
"""Longest that a model may take."""
_COPIES, _SPARE = 8, 4 * 2**30
"""Bytes of memory for each byte of the model and its inputs, and for what torch needs itself."""

WORKER = Worker(SCRIPT, SECONDS)
"""The one of this process."""


def convert(
    path: Path,
    output: Path,
    inputs: tuple[InputSpec, ...],
    sample: Arrays | None,
    dynamic: tuple[DynamicSpec, ...],
) -> list[str]:
    """Write a TorchScript archive as one of torch.export, and return the names of its inputs.

    Raises UserError where it cannot be read, takes anything but tensors, cannot be traced, takes more memory or time
    than it may, or crashes torch.
    """
    request = output.with_suffix(".request")
    request.write_bytes(pickle.dumps((inputs, sample, dynamic)))
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    size += sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in inputs) + request.stat().st_size
    try:
        answer = json.loads(
            WORKER.ask(
                {
                    "model": str(path.resolve()),
                    "request": str(request),
                    "output": str(output),
                    "memory": _COPIES * size + _SPARE,
                    "libraries": sorted(torch.ops.loaded_libraries),
                }
            )
        )
    except Ended as ended:
        raise UserError(
            f"'{path}' cannot be read: torch crashed ({ended}) as it converted it",
            "copy or save the file again, or save the model with torch.export.save",
        ) from ended
    if "error" in answer:
        raise UserError(*answer["error"])
    names: list[str] = answer["names"]
    return names
