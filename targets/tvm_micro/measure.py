"""Builds the printed library into firmware, runs it on the emulated board, and reads what it wrote down."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeopt.errors import EdgeoptError
from edgeopt.target import Device

from . import emulate, toolchain
from .integer_graph import IntegerGraph

STACK_BYTES = 4096


@dataclass(frozen=True)
class Measurement:
    """One run: outputs by name with the samples along axis 0; instructions of the first inference (0 on the host)."""

    outputs: Mapping[str, np.ndarray]
    instructions: int
    layers: tuple[int, ...]
    stack_bytes: int
    sections: toolchain.Sections


def measure(
    graph: IntegerGraph, library: Path, device: Device, inputs: Mapping[str, np.ndarray], profile: bool = False
) -> Measurement:
    """Run the library in ``library`` on int8 ``inputs`` (samples along axis 0).

    With ``profile`` the layers are counted one by one, which adds a few instructions to each.
    Raises EdgeoptError where the firmware fails, refuses, or writes outside its arena.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        elf = build(library, device, folder, profile)
        count = len(next(iter(inputs.values())))
        flat = [np.asarray(inputs[name], np.int8).reshape(count, -1) for name in graph.inputs]
        (folder / "inputs.bin").write_bytes(np.concatenate(flat, axis=1).tobytes())
        emulate.run(device, elf, folder)
        report = np.fromfile(folder / "report.bin", "<u8")
        written = np.fromfile(folder / "outputs.bin", np.int8).reshape(count, -1)
        size = toolchain.sections(elf)
    status, ticks, stack, guards, *layers = (int(v) for v in report)
    if status or not guards:
        raise EdgeoptError(
            f"the network returned status {status}; arena guards {'intact' if guards else 'overwritten'}",
            "this is a defect of the generated library: please report the model",
        )
    sizes = [graph.tensors[name].size for name in graph.outputs]
    parts = np.split(written, np.cumsum(sizes)[:-1], axis=1)
    outputs = {n: p.reshape(count, *graph.tensors[n].shape) for n, p in zip(graph.outputs, parts, strict=True)}
    counted = "qemu" in device.facts
    instructions = [emulate.instructions(device, t) if counted else 0 for t in (ticks, *layers)]
    return Measurement(outputs, instructions[0], tuple(instructions[1:]) if profile else (), stack, size)


def build(library: Path, device: Device, folder: Path, profile: bool = False) -> Path:
    """Compile the library with the measuring main program; return the ELF."""
    sources = [*sorted(library.glob("*.c")), emulate.FIRMWARE / "main.c"]
    define = ["NETWORK_PROFILE"] if profile else []
    return emulate.build(device, sources, folder, [library], define, STACK_BYTES)


def library_sections(library: Path, device: Device) -> toolchain.Sections:
    """Code and constants of the library alone, as it is linked into firmware."""
    with tempfile.TemporaryDirectory() as name:
        objects = toolchain.compile_objects(device.facts["core"], sorted(library.glob("*.c")), Path(name), [library])
        parts = [toolchain.sections(path) for path in objects]
    return toolchain.Sections(*(sum(getattr(p, f) for p in parts) for f in ("text", "rodata", "data", "bss")))
