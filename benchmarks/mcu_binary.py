"""Layers of signs on emulated Cortex-M beside the same layers in int8, and a whole network of both.

    python -m benchmarks.mcu_binary [--network] [--json]

Prints a Markdown table: instructions of convolutions in QEMU (-icount), the same on every run; int8 with its fastest
weights (int16 pairs on Cortex-M4). Takes half a minute. ``--network`` also exports the digits CNN in int8 and by the
recipe ``binary``, tuned for 1,200 steps, and runs both on 450 held-out digits: some five minutes on two cores.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

import edgeopt
from benchmarks.mcu import BOARDS, table
from edgeopt.deploy.overrides import Overrides
from samples import digits, digits_cnn
from tests.kernels import bench, fuzz_binary
from tests.typed import some

ISAS = {"M4": "dsp", "M55": "mve"}
SHAPES = ((16, 3, 64, 64), (8, 3, 64, 64), (8, 3, 128, 32), (16, 3, 32, 32), (16, 1, 64, 64), (8, 1, 256, 64))
"""Size of the map, kernel, channels in and out."""
COLUMNS = ["core", "convolution", "map", "into", "instr.", "per MAC", "int8", "ratio", "constants", "int8's"]
NETWORK_COLUMNS = ["digits CNN", "top-1", "instr.", "arena", "constants"]


def layers(core: str) -> list[dict[str, object]]:
    """Every shape on a core, into signs and into int8."""
    pairs = [
        (shape, as_bytes, fuzz_binary.beside_int8(*shape, ISAS[core], as_bytes))
        for shape in SHAPES
        for as_bytes in (False, True)
    ]
    costs = bench.run(BOARDS[core], [case for _, _, pair in pairs for case in pair])
    rows = []
    for ((size, kernel, inputs, outputs), as_bytes, pair), signs, int8 in zip(
        pairs, costs[::2], costs[1::2], strict=True
    ):
        macs = size * size * outputs * kernel * kernel * inputs
        rows.append(
            {
                "core": core, "size": size, "kernel": kernel, "channels": [inputs, outputs],
                "into": "int8" if as_bytes else "signs", "instructions": signs.cost, "per_mac": signs.cost / macs,
                "int8_instructions": int8.cost, "of_int8": signs.cost / int8.cost,
                "constants": pair[0].packed.nbytes, "int8_constants": pair[1].packed.nbytes,
            }
        )  # fmt: skip
    return rows


def _cells(row: dict[str, Any]) -> list[str]:
    kernel, (inputs, outputs), size = row["kernel"], row["channels"], row["size"]
    return [
        row["core"], f"{kernel}x{kernel}, {inputs} to {outputs}", f"{size}x{size}", row["into"],
        f"{row['instructions']:,.0f}", f"{row['per_mac']:.3f}", f"{row['int8_instructions']:,.0f}",
        f"{row['of_int8']:.2f}", f"{row['constants']:,}", f"{row['int8_constants']:,}",
    ]  # fmt: skip


def networks() -> list[list[str]]:
    """The digits CNN in int8 and of signs, on both cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits_cnn.main(folder)
        np.savez(folder / "tune.npz", images=digits.load().train_images.numpy())
        int8: Overrides = {"calib": str(folder / "tune.npz"), "data": str(folder / "eval.npz")}
        tuned: Overrides = {
            "recipe": "binary",
            "tune": "1200",
            "tune_data": str(folder / "tune.npz"),
            "force": True,
            **int8,
        }
        rows = []
        for core in ("cortex-m4", "cortex-m55"):
            for title, swap in (("int8", int8), ("binary", tuned)):
                run = edgeopt.export(folder / "model.pt2", core, folder / f"{core}-{title}", **swap)
                memory = run.artifact.memory
                rows.append(
                    [
                        f"{title}, {core}", f"{some(run.accuracy).exported:.1%}", f"{some(run.latency).median:,.0f}",
                        f"{memory['arena']:,}", f"{memory['weights']:,}",
                    ]
                )  # fmt: skip
        return rows


@click.command()
@click.option("--network", is_flag=True, help="Also whole networks, tuned and run on held-out digits.")
@click.option("--json", "as_json", is_flag=True, help="Print the layers as JSON.")
def main(network: bool, as_json: bool) -> None:
    """Print the table of layers, and of networks."""
    rows = [row for core in ISAS for row in layers(core)]
    click.echo(json.dumps(rows, indent=1) if as_json else table(COLUMNS, [_cells(row) for row in rows]))
    if network:
        click.echo(f"\n{table(NETWORK_COLUMNS, networks())}")


if __name__ == "__main__":
    main()
