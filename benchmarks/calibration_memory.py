"""Peak memory of a calibration over few and over many samples: it must not grow with their number.

    python -m benchmarks.calibration_memory [--few 1000] [--many 100000] [--method mse] [--json]

The model is ds_cnn with random weights, for memory does not depend on them. Samples lie in one ``.npz``. Each run is
a process of its own; its peak is the operating system's.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.table import show

_RUN = "import sys; from benchmarks.calibration_memory import run; run(*sys.argv[1:])"
_SHAPE = (1, 49, 10)


@click.command()
@click.option("--few", default=1000, show_default=True)
@click.option("--many", default=100_000, show_default=True)
@click.option("--method", default="mse", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(few: int, many: int, method: str, as_json: bool) -> None:
    """Calibrate on both numbers of samples and compare the peaks."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (few, many):
            click.echo(f"{count:,} samples", err=True)
            file = Path(folder) / f"{count}.npz"
            write(file, count)
            out = subprocess.run([sys.executable, "-c", _RUN, file, method], check=True, capture_output=True, text=True)
            seconds, peak = map(float, out.stdout.split())
            rows.append({"samples": count, "file MB": file.stat().st_size / 1e6, "seconds": seconds, "peak MB": peak})
    rows.append({**dict.fromkeys(rows[0]), "samples": "difference", "peak MB": rows[1]["peak MB"] - rows[0]["peak MB"]})
    show(rows, as_json)


def write(file: Path, count: int) -> None:
    """Write samples without holding them all."""
    import zipfile

    header = {"descr": "<f4", "fortran_order": False, "shape": (count, *_SHAPE)}
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(file, "w") as archive, archive.open("x.npy", "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(count):
            stream.write(generator.standard_normal(_SHAPE, np.float32).tobytes())


def run(file: str, method: str) -> None:
    """Calibrate in this process; print its seconds and its peak memory in MB."""
    import time

    import torch

    from edgeopt.calib.calibrate import calibrate
    from edgeopt.calib.data import open_data
    from edgeopt.plugins.testing import to_program
    from tests.models.mlperf_tiny import architecture

    torch.set_num_threads(1)
    program = to_program(architecture("ds_cnn"), [torch.zeros(1, *_SHAPE)])
    start = time.perf_counter()
    calibrate(program, open_data(file, program.inputs), method)
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


if __name__ == "__main__":
    main()
