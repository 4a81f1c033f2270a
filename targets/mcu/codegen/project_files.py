"""Firmware integration: an example application around the library, for the build system that was asked for.

``make`` and ``cmake`` build it for the device's core and run it in QEMU (on the host for ``host-c``); ``zephyr``,
``platformio`` and ``esp-idf`` give a component and an application for those frameworks. Every example runs golden
inputs and compares the outputs byte by byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgeopt.errors import UserError
from edgeopt.plugins.target import Device
from edgeopt.targets.mcu.codegen.emit import environment
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.runtime import qemu as emulate
from edgeopt.targets.mcu.runtime import toolchain
from edgeopt.targets.mcu.runtime.core import read_core
from edgeopt.targets.mcu.runtime.network import Network

KINDS = ("none", "make", "cmake", "zephyr", "platformio", "esp-idf")
FOLDER = "project"
_TEMPLATES = Path(__file__).parent / "project"
_MAIN = {"zephyr": "app/src", "platformio": "src", "esp-idf": "main"}
_FREE = ("make", "cmake")


def check_kind(kind: str, device: Device) -> None:
    """Raise UserError for an unknown kind, or one that does not go with the device."""
    if kind not in KINDS:
        raise UserError(f"project is '{kind}'", f"choose one of: {', '.join(KINDS)}")
    if kind == "platformio" and "platformio" not in device.facts:
        raise UserError(f"device '{device.name}' has no PlatformIO board", "choose make or cmake, or a board's device")
    if kind == "esp-idf" and read_core(device.facts["core"]).isas != ("scalar",):
        raise UserError(
            f"esp-idf builds for Xtensa and RISC-V, the kernels of '{device.name}' are for {device.facts['core']}",
            "export with target host-c: portable C",
        )


def write_project(
    kind: str, device: Device, board: Device, graph: IntegerGraph, network: Network, folder: Path
) -> list[str]:
    """Write the project of a printed ``network`` into ``folder``; return the names of its files, sorted."""
    core = device.facts["core"]
    values = {
        "kind": kind,
        "core": core,
        "flags": read_core(core).flags,
        "compiler": toolchain.compiler(core),
        "archiver": f"{read_core(core).tools}ar",
        "machine": board.facts["qemu"]["machine"] if core != "host" else None,
        "platformio": device.facts.get("platformio"),
        "arena_bytes": network.arena_bytes,
        **_golden(graph),
    }
    _render(kind, folder, values)
    _render("example", folder / _MAIN.get(kind, "."), values)
    if kind in _FREE:
        _copy_services(core, board, folder, network.section)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _golden(graph: IntegerGraph) -> dict[str, list[list[int]]]:
    """Seeded inputs and the reference's outputs."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8) for name in graph.inputs}
    values = graph.run(inputs)
    return {
        "inputs": [inputs[name].reshape(-1).tolist() for name in graph.inputs],
        "outputs": [values[name].reshape(-1).tolist() for name in graph.outputs],
    }


def _render(kind: str, folder: Path, values: Mapping[str, object]) -> None:
    templates = environment(_TEMPLATES / kind)
    for name in templates.list_templates():
        target = folder / name.removesuffix(".jinja")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(templates.get_template(name).render(values), "utf-8")


def _copy_services(core: str, board: Device, folder: Path, section: str) -> None:
    """Startup and semihosting of the emulated board, or their stand-ins on the host."""
    services = emulate.HOST if core == "host" else emulate.STARTUP
    for name in (*services, "counter.h", "semihosting.h"):
        (folder / name).write_text((emulate.FIRMWARE / name).read_text(), "utf-8")
    if core != "host":
        emulate.linker_script(board, folder, emulate.STACK_BYTES, section)
