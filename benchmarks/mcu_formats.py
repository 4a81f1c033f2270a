"""Weights in four bits and requantization by shifts on emulated Cortex-M, beside int8.

    python -m benchmarks.mcu_formats [--json] [--core M0+|M4|M55] [MODEL ...]

MLPerf Tiny models, exported as a user would: calibrated on 128 samples with the default recoveries (resnet8 on seeded
noise, so that its error says little), run in QEMU. ``top-1`` is ds_cnn's, on the other 872 keyword samples, on
Cortex-M4: the bytes are the same on all cores. Instructions are of one inference; constants are weights, biases and
multipliers, flash is all that the linker keeps of the library. Takes about fifteen minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

import edgeopt
from benchmarks.table import show
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import MicroOptions
from tests.models import mlperf_tiny

MODELS = ("ds_cnn", "resnet8", "fc_autoencoder")
CORES = {"M0+": "cortex-m0plus", "M4": "cortex-m4", "M55": "cortex-m55"}
FORMS: Mapping[str, Mapping[str, str]] = {
    "int8, speed": {"optimize": "speed"},
    "int8, size": {"optimize": "size"},
    "int8, shifts": {"optimize": "size", "requantization": "shift"},
    "fp4": {"precision": "fp4"},
    "int4": {"precision": "int4"},
    "int4, shifts": {"precision": "int4", "requantization": "shift"},
}
SAMPLES = 128


def measure(model: str, core: str, form: str, folder: Path) -> dict[str, Any]:
    """Export a model and return the row of what was measured."""
    options: dict[str, Any] = {**FORMS[form]}
    x = mlperf_tiny.example_inputs(model, SAMPLES)
    np.savez(folder / "calib.npz", x=x)
    run = edgeopt.export(
        mlperf_tiny.build(model), CORES[core], folder / "out", inputs={"x": x[:1]}, samples=8,
        calib=str(folder / "calib.npz"), **options,
    )  # fmt: skip
    assert run.latency is not None and run.error is not None and run.model.macs is not None
    memory = run.artifact.memory
    return {
        "model": model, "core": core, "form": form,
        "instructions": int(run.latency.median), "per MAC": run.latency.median / run.model.macs,
        "constants": memory["weights"], "flash": memory["flash"], "arena": memory["arena"], "ram": memory["ram"],
        "SQNR dB": run.error.sqnr_db, "top-1": accuracy(folder / "out") if (model, core) == ("ds_cnn", "M4") else None,
    }  # fmt: skip


def accuracy(bundle: Path) -> float:
    """Return the top-1 of ds_cnn in a bundle for Cortex-M4, in one run of the emulator."""
    x, labels = mlperf_tiny.kws01()
    session = resolve(CORES["M4"]).open(bundle, MicroOptions())
    (outputs,) = session.run({"x": x[SAMPLES:]}).values()
    session.close()
    return float(np.mean(outputs.argmax(axis=1) == labels[SAMPLES:]))


def rows(models: tuple[str, ...], cores: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the rows one after the other; int8 has one form on cores without weights of int16."""
    for model in models:
        for core in cores:
            for form in FORMS:
                if form == "int8, speed" and core != "M4":
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    yield measure(model, core, form, Path(folder))


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(MODELS))
@click.option("--core", "cores", multiple=True, type=click.Choice(list(CORES)), help="Only these cores.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(models: tuple[str, ...], cores: tuple[str, ...], as_json: bool) -> None:
    """Print the table of models, cores and forms."""
    show(list(rows(models or MODELS, cores or tuple(CORES))), as_json)


if __name__ == "__main__":
    main()
