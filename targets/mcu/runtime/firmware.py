"""Builds the printed library into firmware, runs it on the emulated board, and reads what it wrote down."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeopt.errors import EdgeoptError
from edgeopt.plugins.target import Device
from edgeopt.targets.mcu.runtime import qemu as emulate
from edgeopt.targets.mcu.runtime import toolchain
from edgeopt.targets.mcu.runtime.network import Network
from edgeopt.targets.mcu.runtime.stack import deepest


@dataclass(frozen=True)
class Measurement:
    """One run: int8 outputs by name, samples along axis 0; what the first inference cost.

    ``ticks`` and ``layer_ticks`` are of the board's counter; the layers' are empty where they were not profiled.
    ``arena_bytes`` are those up to the last one that was written.
    """

    outputs: Mapping[str, np.ndarray]
    ticks: int
    layer_ticks: tuple[int, ...]
    stack_bytes: int
    arena_bytes: int


class Firmware:
    """The library of a folder with a main program that measures it, for ``core`` and the memories of ``board``."""

    def __init__(self, library: Path, board: Device, core: str, profile: bool = False) -> None:
        """Build it. With ``profile`` the layers are counted one by one, which adds a few instructions to each."""
        self.network = Network.read(library)
        self.board = board
        self.profile = profile
        self._folder = tempfile.TemporaryDirectory(prefix="edgeopt-")
        sources = [*sorted(library.glob("*.c")), emulate.FIRMWARE / "main.c"]
        define = ["NETWORK_PROFILE"] if profile else []
        self.elf = emulate.build(board, core, sources, Path(self._folder.name), [library], define, self.network.section)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Measurement:
        """Run int8 ``inputs`` (samples, H, W, C) one after another.

        Raises EdgeoptError where the firmware fails, refuses, or writes outside its arena.
        """
        folder = Path(self._folder.name)
        count = len(next(iter(inputs.values())))
        flat = [np.asarray(inputs[port.name], np.int8).reshape(count, -1) for port in self.network.inputs]
        (folder / "inputs.bin").write_bytes(np.concatenate(flat, axis=1).tobytes())
        emulate.run(self.board, self.elf, folder)
        status, ticks, stack, guards, arena, *layers = (int(v) for v in np.fromfile(folder / "report.bin", "<u8"))
        if status or not guards:
            raise EdgeoptError(
                f"the network returned status {status}; arena guards {'intact' if guards else 'overwritten'}",
                "this is a defect of the generated library: please report the model",
            )
        return Measurement(self._outputs(folder, count), ticks, tuple(layers) if self.profile else (), stack, arena)

    def _outputs(self, folder: Path, count: int) -> dict[str, np.ndarray]:
        written = np.fromfile(folder / "outputs.bin", np.int8).reshape(count, -1)
        ports = self.network.outputs
        parts = np.split(written, np.cumsum([port.size for port in ports])[:-1], axis=1)
        return {port.name: part.reshape(count, *port.hwc) for port, part in zip(ports, parts, strict=True)}

    def close(self) -> None:
        """Remove what was built."""
        self._folder.cleanup()


@dataclass(frozen=True)
class Footprint:
    """What a library takes of a device beside its arena: its sections, and the stack at most."""

    sections: toolchain.Sections
    stack_bytes: int


def footprint(library: Path, core: str) -> Footprint:
    """Compile the library for ``core`` and read its object files and its call graph."""
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as name:
        objects = toolchain.compile_objects(core, sorted(library.glob("*.c")), Path(name), [library])
        parts = [toolchain.sections(core, path) for path in objects]
        depth = deepest((path.with_suffix(".ci").read_text() for path in objects), "network_run")
    sections = (sum(getattr(p, f) for p in parts) for f in ("text", "rodata", "data", "bss"))
    return Footprint(toolchain.Sections(*sections), depth)
