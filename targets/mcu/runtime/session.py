"""A printed library on its board: in QEMU for the Cortex-M cores, as a process for the host."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeopt.plugins.target import Arrays, Device, Session
from edgeopt.records.layers import Layer
from edgeopt.targets.mcu.runtime import qemu as emulate
from edgeopt.targets.mcu.runtime.firmware import Firmware


class MicroSession(Session):
    """Quantizes inputs, runs the library, dequantizes outputs; costs are instructions, on the host milliseconds.

    ``firmware`` takes and returns the integers themselves.
    """

    def __init__(self, library: Path, board: Device, core: str) -> None:
        self._library, self._board, self._core = library, board, core
        self.firmware = Firmware(library, board, core)
        counts_instructions = "qemu" in board.facts
        self.is_deterministic = counts_instructions
        self.unit = "instructions" if counts_instructions else "ms"

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run the samples along axis 0; inputs and outputs by name, float32."""
        measured = self.firmware.run(self._quantized(inputs))
        return {p.name: p.to_real(measured.outputs[p.name]) for p in self.firmware.network.outputs}

    def cost(self, inputs: Arrays) -> tuple[float, float]:
        """Return the cost of one inference, and on the host the same as CPU time (0 in the emulator)."""
        cost = emulate.cost(self._board, self.firmware.run(self._quantized(inputs)).ticks)
        return cost, 0.0 if self.is_deterministic else cost

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the layers with the cost of each; one run where the count is exact."""
        firmware = Firmware(self._library, self._board, self._core, profile=True)
        try:
            q = self._quantized(inputs)
            counts = [firmware.run(q).layer_ticks for _ in range(1 if self.is_deterministic else runs)]
        finally:
            firmware.close()
        medians = np.median(np.array(counts, np.float64), axis=0)
        return tuple(
            Layer(
                layer.name,
                layer.kernel,
                layer.precision,
                emulate.cost(self._board, ticks),
            )
            for layer, ticks in zip(firmware.network.layers, medians, strict=True)
        )

    def close(self) -> None:
        """Remove the firmware."""
        self.firmware.close()

    def _quantized(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return {port.name: port.to_int8(inputs[port.name]) for port in self.firmware.network.inputs}
