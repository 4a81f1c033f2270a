"""QEMU as the measuring board: the same instructions, the same figure on every run.

``-icount shift=6`` gives each instruction 64 ns of virtual time, so the board's SysTick counts instructions. These
are instructions, not cycles: no wait states, no vector beats, no dual issue.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgeopt.errors import EdgeoptError, UserError
from edgeopt.plugins.target import Device
from edgeopt.targets.mcu.runtime import toolchain

FIRMWARE = Path(__file__).parents[1] / "codegen" / "project" / "firmware"
STARTUP = ("startup.c", "counter.c", "semihosting.c")
HOST = ("host.c",)
QEMU = "qemu-system-arm"
STACK_BYTES = 4096
"""Stack of firmware that runs a network; what it really takes is computed where a compiler is, and measured."""
_SHIFT = 6
_OVERFLOW = re.compile(r"region `(?P<region>\w+)' overflowed by (?P<bytes>\d+) bytes")
_LARGER = "choose a device that has more"
_SMALLER = {
    "flash": f"use --optimize size, --precision int4 or a smaller model, or {_LARGER}",
    "ram": f"use --schedule heads, a smaller input or batch, or {_LARGER}",
}


def linker_script(device: Device, folder: Path, stack_bytes: int, section: str = "") -> Path:
    """Write ``firmware.ld`` for the device's memories into ``folder`` and return it.

    What stands in ``section`` goes to the device's external memory.
    """
    environment = Environment(loader=FileSystemLoader(FIRMWARE), undefined=StrictUndefined, keep_trailing_newline=True)
    script = folder / "firmware.ld"
    facts = device.facts
    text = environment.get_template("firmware.ld.jinja").render(
        name=device.name, flash=facts["flash"], ram=facts["ram"], stack_bytes=stack_bytes,
        section=section if "external" in facts else "", external=facts.get("external"),
    )  # fmt: skip
    script.write_text(text)
    return script


def build(
    board: Device,
    core: str,
    sources: Sequence[Path],
    folder: Path,
    include: Sequence[Path],
    define: Sequence[str] = (),
    section: str = "",
) -> Path:
    """Build a program of ``sources`` and the board's services for ``core``; return the ELF in ``folder``.

    ``board`` gives the memories; its own core runs what is built for a smaller one. Raises UserError where they do not
    hold the program.
    """
    script = None if core == "host" else linker_script(board, folder, STACK_BYTES, section)
    services = [FIRMWARE / name for name in (HOST if core == "host" else STARTUP)]
    try:
        return toolchain.link(
            core, [*sources, *services], script, folder / "firmware.elf", [FIRMWARE, *include], define
        )
    except toolchain.ToolFailed as error:
        if overflow := _OVERFLOW.search(error.said):
            raise _too_large(board, overflow["region"].lower(), int(overflow["bytes"])) from error
        raise


def _too_large(board: Device, memory: str, over: int) -> UserError:
    """What the linker says of a memory that is too small, with what it has and what is needed."""
    size = board.facts.get(memory, {}).get("size", 0)
    return UserError(
        f"the firmware takes {size + over} bytes of {memory}: '{board.name}' has {size}", _SMALLER.get(memory, _LARGER)
    )


def run(device: Device, elf: Path, folder: Path, timeout_s: float = 600) -> None:
    """Run firmware to its end, its files in ``folder``.

    Raises UserError where the device has no emulator, EdgeoptError where the firmware fails or does not end.
    """
    try:
        done = subprocess.run(
            [*_launcher(device), str(elf)], capture_output=True, text=True, cwd=folder, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EdgeoptError(f"the firmware did not end within {timeout_s:g} s", "look for an endless loop") from error
    if done.returncode:
        raise EdgeoptError(
            f"the firmware ended with status {done.returncode}: {done.stderr.strip()[-400:]}",
            "run the ELF under a debugger: qemu-system-arm -s -S",
        )


def _launcher(device: Device) -> list[str]:
    """The command that runs an ELF, which follows as its last argument."""
    if device.facts["core"] == "host":
        return []
    if "qemu" not in device.facts:
        raise UserError(f"device '{device.name}' has no emulator", "run on a device with a [qemu] table")
    return [
        toolchain.require(QEMU), "-M", device.facts["qemu"]["machine"],
        "-icount", f"shift={_SHIFT},align=off,sleep=off", "-semihosting",
        "-nographic", "-monitor", "none", "-serial", "none", "-kernel",
    ]  # fmt: skip


def cost(device: Device, ticks: float) -> float:
    """What so many ticks of the device's counter are: instructions in the emulator, milliseconds on the host."""
    if "qemu" in device.facts:
        tick_ns: int = device.facts["qemu"]["tick_ns"]
        return round(ticks * tick_ns / (1 << _SHIFT))
    return ticks / 1e6
