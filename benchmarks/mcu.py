"""Instructions, arenas and code sizes of the MLPerf Tiny models on emulated Cortex-M, beside TFLM + CMSIS-NN.

    python -m benchmarks.mcu [--layers] [--accuracy] [--optimize speed|balanced|size] [MODEL ...]

Prints a Markdown table. The baseline was measured the same way (QEMU -icount, GCC 12.2 -O2). Inputs are those of the
models' data sets, or seeded noise; ``--accuracy`` runs ds_cnn in QEMU on all 1,000 keyword samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import LIBRARY, MicroOptions
from edgeopt.targets.mcu.runtime import qemu as emulate
from edgeopt.targets.mcu.runtime.firmware import Firmware, Measurement
from tests.models import mlperf_tiny
from tests.targets.mcu.quantized import mlperf

BOARDS = {"M4": "mps2-an386", "M7": "mps2-an500", "M55": "mps3-an547"}


@dataclass(frozen=True)
class Baseline:
    """TFLM + CMSIS-NN: million instructions by core; arena and code beside the weights, in bytes, on M4."""

    instructions: dict[str, float]
    arena: int
    code: int


BASELINES = {
    "resnet8": Baseline({"M4": 29.86, "M7": 29.93, "M55": 4.81}, 54_996, 51_000),
    "ds_cnn": Baseline({"M4": 7.70, "M7": 7.65, "M55": 1.79}, 22_820, 53_000),
    "mobilenet_v1_025": Baseline({"M4": 24.10, "M7": 24.03, "M55": 6.43}, 100_708, 53_000),
    "fc_autoencoder": Baseline({"M4": 0.583, "M7": 0.583, "M55": 0.285}, 2_580, 29_000),
}


@dataclass(frozen=True)
class Row:
    """One model on one board."""

    model: str
    core: str
    firmware: Firmware
    measured: Measurement
    memory: dict[str, int]

    @property
    def instructions(self) -> float:
        """Of the first inference."""
        return emulate.cost(self.firmware.board, self.measured.ticks)

    def cells(self) -> list[str]:
        """Under ``COLUMNS``."""
        base = BASELINES[self.model]
        before = base.instructions[self.core] * 1e6
        network = self.firmware.network
        return [
            self.model, self.core, f"{self.instructions / 1e6:.3f}", f"{before / 1e6:.3f}",
            f"{self.instructions / before:.2f}", f"{self.instructions / network.macs:.2f}",
            f"{network.arena_bytes:,}", f"{network.arena_bytes / base.arena:.2f}",
            f"{self.measured.stack_bytes:,}", f"{self.memory['code']:,}", f"{self.memory['weights']:,}",
        ]  # fmt: skip

    def layers(self) -> Iterator[list[str]]:
        """Rows under ``LAYER_COLUMNS``."""
        for layer, ticks in zip(self.firmware.network.layers, self.measured.layer_ticks, strict=True):
            count = emulate.cost(self.firmware.board, ticks)
            each = f"{count / layer.macs:.2f}" if layer.macs else ""
            yield [layer.name, layer.kernel, f"{count:,.0f}", f"{layer.macs:,}", each, f"{layer.constant_bytes:,}"]


COLUMNS = ["model", "core", "M instr.", "TFLM", "ratio", "per MAC", "arena", "of TFLM's", "stack", "code", "constants"]
LAYER_COLUMNS = ["layer", "kernel", "instructions", "MACs", "per MAC", "constants"]


def measure(model: str, core: str, optimize: str, profile: bool, x: np.ndarray) -> Row:
    """Compile a model for a core and run it on the samples ``x``."""
    target = resolve(f"mcu:{BOARDS[core]}")
    with tempfile.TemporaryDirectory() as name:
        artifact = target.compile(mlperf(model), Path(name), MicroOptions(optimize=optimize))
        firmware = Firmware(Path(name) / LIBRARY, target.device, target.device.facts["core"], profile)
    port = firmware.network.inputs[0]
    return Row(model, core, firmware, firmware.run({port.name: port.to_int8(x)}), dict(artifact.memory))


def accuracy(optimize: str) -> str:
    """Top-1 of ds_cnn on the 1,000 keyword samples, in QEMU."""
    x, labels = mlperf_tiny.kws01()
    row = measure("ds_cnn", "M4", optimize, False, x)
    port = row.firmware.network.outputs[0]
    reached = np.mean(port.to_real(row.measured.outputs[port.name]).argmax(axis=1) == labels)
    return f"ds_cnn on kws01, 1,000 samples in QEMU (M4): {reached:.1%}"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows))


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(list(BASELINES)))
@click.option("--core", "cores", multiple=True, type=click.Choice(list(BOARDS)), help="Only these cores.")
@click.option("--optimize", default="speed", help="What flash is spent on.")
@click.option("--layers", "profile", is_flag=True, help="Also every layer.")
@click.option("--accuracy", "with_accuracy", is_flag=True, help="Also ds_cnn's accuracy on all keyword samples.")
def main(models: tuple[str, ...], cores: tuple[str, ...], optimize: str, profile: bool, with_accuracy: bool) -> None:
    """Print the table of models and cores."""
    rows = []
    for model in models or BASELINES:
        for core in cores or BOARDS:
            row = measure(model, core, optimize, profile, mlperf_tiny.example_inputs(model, 1))
            rows.append(row.cells())
            if profile:
                click.echo(f"{model} on {core}\n\n{table(LAYER_COLUMNS, list(row.layers()))}\n")
            row.firmware.close()
    click.echo(table(COLUMNS, rows))
    if with_accuracy:
        click.echo(f"\n{accuracy(optimize)}")


if __name__ == "__main__":
    main()
