"""Runs kernels on the host and under QEMU: cases in, memory and instruction counts out."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from edgeopt.kernels import mcu as kernels
from edgeopt.plugins.target import Device
from edgeopt.targets.mcu.runtime import qemu as emulate
from edgeopt.targets.mcu.runtime import toolchain
from edgeopt.targets.mcu.runtime.core import read_core

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CANARY = 0x5A
GUARD = 32
_DEVICES = Path(emulate.__file__).parents[1] / "devices"


class Window(ctypes.Structure):
    """``eo_window``."""

    _fields_ = [
        *((name, ctypes.c_uint16) for name in ("in_h", "in_w", "in_c", "out_h", "out_w", "out_c")),
        *((n, ctypes.c_uint8) for n in ("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left")),
        *((name, ctypes.c_int8) for name in ("in_zero", "out_zero", "act_min", "act_max")),
    ]


class Add(ctypes.Structure):
    """``eo_add``."""

    _fields_ = [
        ("mul_a", ctypes.c_int16), ("mul_b", ctypes.c_int16), ("offset", ctypes.c_int32), ("shift", ctypes.c_uint8),
        ("act_min", ctypes.c_int8), ("act_max", ctypes.c_int8),
    ]  # fmt: skip


class Linear(ctypes.Structure):
    """``eo_linear``."""

    _fields_ = [
        ("in_features", ctypes.c_uint16), ("out_features", ctypes.c_uint16),
        ("out_zero", ctypes.c_int8), ("act_min", ctypes.c_int8), ("act_max", ctypes.c_int8),
    ]  # fmt: skip


class MatMul(ctypes.Structure):
    """``eo_matmul``."""

    _fields_ = [
        *((name, ctypes.c_uint16) for name in ("batch", "rows", "depth", "columns")),
        *(
            (name, ctypes.c_int32)
            for name in ("a_batch", "a_row", "b_batch", "b_row", "b_column", "y_batch", "y_row", "multiplier")
        ),
        *((name, ctypes.c_int8) for name in ("a_zero", "out_zero", "act_min", "act_max")),
    ]


class Norm(ctypes.Structure):
    """``eo_norm``."""

    _fields_ = [
        ("epsilon", ctypes.c_int64), ("width", ctypes.c_uint16), ("centered", ctypes.c_uint8),
        ("per_channel", ctypes.c_uint8),
        *((name, ctypes.c_int8) for name in ("in_zero", "out_zero", "act_min", "act_max")),
    ]  # fmt: skip


class Copy(ctypes.Structure):
    """``eo_copy``."""

    _fields_ = [("sizes", ctypes.c_uint16 * 4), ("from", ctypes.c_int32 * 4), ("to", ctypes.c_int32 * 4)]


class _Case(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_uint32)
            for name in (
                "kernel", "x_at", "b_at", "c_at", "y_at", "scratch_at", "arena_bytes", "packed_bytes", "table_bytes",
                "n", "rows", "with_add",
            )
        ),
        ("window", Window), ("add", Add), ("linear", Linear), ("norm", Norm), ("scores", MatMul), ("mix", MatMul),
        ("copy", Copy),
    ]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One call of a kernel. ``distance``: x - y in bytes where they share memory, None for apart."""

    kernel: kernels.Kernel
    x: np.ndarray
    y_bytes: int
    packed: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    table: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    b: np.ndarray | None = None
    c: np.ndarray | None = None
    y: np.ndarray | None = None
    scratch_bytes: int = 0
    distance: int | None = None
    window: Window = field(default_factory=Window)
    add: Add | None = None
    linear: Linear = field(default_factory=Linear)
    norm: Norm = field(default_factory=Norm)
    scores: MatMul = field(default_factory=MatMul)
    mix: MatMul = field(default_factory=MatMul)
    copy: Copy = field(default_factory=Copy)
    n: int = 0
    rows: int = 1

    def layout(self) -> dict[str, int]:
        """Offsets in the arena: x, b, c, y, scratch, with guards around them, and its size."""

        def up(count: int) -> int:
            return -(-(count + GUARD) // 4) * 4

        x_at = GUARD
        if self.distance is None:
            y_at = x_at + up(self.x.size)
            end = y_at + self.y_bytes
        else:
            y_at = GUARD + max(0, -self.distance)
            x_at = y_at + self.distance
            end = max(x_at + self.x.size, y_at + self.y_bytes)
        b_at = up(end)
        c_at = b_at + up(0 if self.b is None else self.b.size)
        scratch_at = c_at + up(0 if self.c is None else self.c.size)
        return {"x_at": x_at, "b_at": b_at, "c_at": c_at, "y_at": y_at, "scratch_at": scratch_at,
                "arena_bytes": scratch_at + up(self.scratch_bytes)}  # fmt: skip

    def arena(self) -> np.ndarray:
        at = self.layout()
        arena = np.full(at["arena_bytes"], CANARY, np.uint8)
        arena[at["x_at"] : at["x_at"] + self.x.size] = self.x.reshape(-1).view(np.uint8)
        for offset, values in (("b_at", self.b), ("c_at", self.c), ("y_at", self.y)):
            if values is not None:
                arena[at[offset] : at[offset] + values.size] = values.reshape(-1).view(np.uint8)
        return arena

    def written(self, arena: np.ndarray) -> np.ndarray:
        """The output, after checking that nothing outside output, scratch and a shared input was written."""
        at = self.layout()
        free = self.arena() != arena
        free[at["y_at"] : at["y_at"] + self.y_bytes] = False
        free[at["scratch_at"] : at["scratch_at"] + self.scratch_bytes] = False
        assert not free.any(), f"{self.kernel.symbol} wrote outside its memory at {np.flatnonzero(free)[:8]}"
        return arena[at["y_at"] : at["y_at"] + self.y_bytes].view(np.int8)


@dataclass(frozen=True)
class Result:
    """The bytes that a kernel wrote and its instructions (on the host milliseconds)."""

    y: np.ndarray
    cost: float


@cache
def device(name: str) -> Device:
    facts = tomllib.loads((_DEVICES / f"{name}.toml").read_text())
    return Device(name, facts["description"], facts=facts)


def has_sanitizers(tool: str, folder: Path) -> bool:
    """Whether a compiler has the sanitizers' runtime; ``folder`` is written to."""
    (folder / "empty.c").write_text("int main(void) { return 0; }")
    command: list[str | Path] = [tool, *SANITIZERS, folder / "empty.c", "-o", folder / "empty"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@cache
def _runner(device_name: str, sanitized: bool) -> tuple[Path, tuple[kernels.Kernel, ...]]:
    core = device(device_name).facts["core"]
    isas = read_core(core).isas
    chosen = tuple(k for k in kernels.inventory() if k.isa in isas)
    folder = Path(tempfile.mkdtemp(prefix="edgeopt-kernels-"))
    rows = "".join(f"EO_KERNEL({k.dtype}, {k.op}, {k.isa})\n" for k in chosen)
    (folder / "under_test.inc").write_text(rows)
    sources = [
        Path(__file__).parent / "runner.c",
        *(path for path in kernels.sources(chosen).values() if path.suffix == ".c"),
    ]
    include = [folder, kernels.HEADER.parent]
    if not sanitized:
        return emulate.build(device(device_name), core, sources, folder, include), chosen
    services = [emulate.FIRMWARE / name for name in emulate.HOST]
    flags = (*SANITIZERS, *toolchain.WARNINGS, "-O1", *(f"-I{path}" for path in (*include, emulate.FIRMWARE)))
    toolchain.command("gcc", *flags, *sources, *services, "-lm", "-o", folder / "sanitized")
    return folder / "sanitized", chosen


def run(device_name: str, cases: Sequence[Case], sanitized: bool = False) -> list[Result]:
    """Run the cases on a device; check that each kept to its memory. ``sanitized``: end at the first fault."""
    elf, chosen = _runner(device_name, sanitized)
    blob = bytearray()
    for case in cases:
        header = _Case(
            kernel=chosen.index(case.kernel), packed_bytes=case.packed.nbytes, table_bytes=case.table.nbytes, n=case.n,
            rows=case.rows, with_add=case.add is not None, window=case.window, add=case.add or Add(),
            linear=case.linear, norm=case.norm, scores=case.scores, mix=case.mix, copy=case.copy, **case.layout(),
        )  # fmt: skip
        blob += bytes(header) + case.packed.tobytes() + case.table.tobytes() + case.arena().tobytes()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "cases.bin").write_bytes(blob)
        emulate.run(device(device_name), elf, Path(folder))
        answer = Path(folder, "results.bin").read_bytes()
    results = []
    for case in cases:
        size = case.layout()["arena_bytes"]
        ticks = int.from_bytes(answer[:8], "little")
        arena = np.frombuffer(answer[8 : 8 + size], np.uint8)
        answer = answer[8 + size :]
        results.append(Result(case.written(arena), emulate.cost(device(device_name), ticks)))
    return results
