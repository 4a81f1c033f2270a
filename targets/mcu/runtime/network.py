"""``network.json``: what a caller in Python must know of a printed library. It lies beside the C files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

FILE = "network.json"


@dataclass(frozen=True)
class Port:
    """An input or output of one inference: its shape in the program, (H, W, C) in the library."""

    name: str
    shape: tuple[int, ...]
    hwc: tuple[int, int, int]
    scale: float
    zero_point: int

    @property
    def size(self) -> int:
        """Bytes of one inference."""
        return int(np.prod(self.hwc))

    def to_int8(self, real: np.ndarray) -> np.ndarray:
        """What the program takes, one inference after another along axis 0 -> int8 (inferences, H, W, C)."""
        q = np.clip(np.round(real / np.float32(self.scale)) + self.zero_point, -128, 127).astype(np.int8)
        if len(self.shape) == 4:
            q = q.reshape(-1, *self.shape).transpose(0, 1, 3, 4, 2)
        return np.ascontiguousarray(q.reshape(-1, *self.hwc))

    def to_real(self, q: np.ndarray) -> np.ndarray:
        """int8 (inferences, H, W, C) -> float32, one inference after another along axis 0."""
        real = (q.astype(np.float32) - self.zero_point) * np.float32(self.scale)
        if len(self.shape) == 4:
            n, c, h, w = self.shape
            real = real.reshape(-1, n, h, w, c).transpose(0, 1, 4, 2, 3)
        return real.reshape(-1, *self.shape[1:]) if self.shape else real.reshape(())


@dataclass(frozen=True)
class LayerFacts:
    """A layer: its kernel, its multiply-accumulates, its constants in flash, what it computes in."""

    name: str
    op: str
    kernel: str
    macs: int
    constant_bytes: int
    precision: str = "int8"


@dataclass(frozen=True)
class Network:
    """A printed library.

    ``section``: of the linker, where its weights lie; ``streamed``: input 0 is read row by row.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[LayerFacts, ...]
    arena_bytes: int
    section: str = ""
    streamed: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def constant_bytes(self) -> int:
        """Weights, biases and multipliers in flash."""
        return sum(layer.constant_bytes for layer in self.layers)

    def write(self, folder: Path) -> None:
        """Write ``network.json`` into ``folder``."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Network:
        """Read ``network.json`` from ``folder``."""
        facts = json.loads((folder / FILE).read_text("utf-8"))
        ports = {
            side: tuple(
                Port(p["name"], tuple(p["shape"]), tuple(p["hwc"]), p["scale"], p["zero_point"]) for p in facts[side]
            )
            for side in ("inputs", "outputs")
        }
        layers = tuple(LayerFacts(**layer) for layer in facts["layers"])
        return cls(ports["inputs"], ports["outputs"], layers, facts["arena_bytes"], facts["section"], facts["streamed"])
