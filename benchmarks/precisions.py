"""Every format on the same models: accuracy, size and speed on each target, each as a complete export.

    python -m benchmarks.precisions [--json] [MODEL ...]

Each row is one ``edgeopt export``. "quality" is top-1 accuracy on held-out samples (digits CNN: 450 digits; ds_cnn: 900
spoken words), for MiniLM the mean cosine of 100 held-out sentences' embeddings with the float model's. "size" are the
artifact's files in KiB, on microcontrollers the flash of code and constants. "speed" is the median latency of the plain
export over the artifact's, both measured alternately on one thread; on microcontrollers the instructions of the int8
export over the row's, counted in QEMU. ``binary`` is the recipe of that name, tuned as long as "tuned" says; ``auto``
may lose one point, MiniLM a cosine of 0.01. About twenty-five minutes for all on two quiet cores.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

import edgeopt
from benchmarks.table import show
from edgeopt.deploy.bundle import open_bundle
from edgeopt.records.run import Run
from samples import digits_cnn
from tests.models import minilm
from tests.models import mlperf_tiny as tiny
from tests.typed import savez

TOKENS = 64
HELD_OUT = 100

Row = dict[str, Any]
Settings = dict[str, Any]

FOUR_BITS: Settings = {"four_bits": "int8"}
WAYS: dict[str, dict[str, Settings]] = {
    "onnx": {
        "fp32": {},
        "int8": {},
        "int4": {},
        **{name: FOUR_BITS for name in ("fp4", "mxfp4", "nvfp4")},
        "auto": {},
    },
    "openvino": {name: {} for name in ("fp32", "bf16", "int8", "int4", "fp4", "mxfp4", "nvfp4", "binary", "auto")},
    "cortex-m4": {"int8": {}, "int8, shifts": {"requantization": "shift"}, "int4": {}, "fp4": {}, "binary": {}},
}
"""By target the precisions, each with what else the export is told."""


@dataclass(frozen=True)
class Case:
    """A model, its files of samples, what ``auto`` may lose, the tuning of signs, and the targets it goes to."""

    model: Any
    calib: Path
    limits: Settings
    data: Path | None = None
    tune: str | None = None
    targets: tuple[str, ...] = tuple(WAYS)
    loading: Settings = field(default_factory=dict)


def _digits(folder: Path) -> Case:
    digits_cnn.main(folder)
    return Case(
        str(folder / "model.pt2"),
        folder / "calib.npz",
        {"max_drop": 0.01},
        folder / "eval.npz",
        "30s",
    )


def _ds_cnn(folder: Path) -> Case:
    """Calibrated and tuned on the first hundred words, judged on the other nine hundred."""
    spoken, labels = tiny.kws01()
    np.savez(folder / "calib.npz", x=spoken[:100])
    np.savez(folder / "eval.npz", x=spoken[100:], labels=labels[100:])
    calib, limits = folder / "calib.npz", {"max_drop": 0.01}
    inputs = {"inputs": {"x": spoken[:1]}}
    return Case(tiny.build("ds_cnn"), calib, limits, folder / "eval.npz", loading=inputs)


def _minilm(folder: Path) -> Case:
    encoded = [_filled(sentence) for sentence in minilm.prose(192)]
    savez(folder / "calib.npz", {name: np.stack([one[name] for one in encoded]) for name in encoded[0]})
    first = {name: array[None] for name, array in encoded[0].items()}
    return Case(
        minilm.build(),
        folder / "calib.npz",
        {"min_cosine": 0.99},
        targets=("onnx", "openvino"),
        loading={"inputs": first},
    )


def _filled(sentence: str) -> dict[str, np.ndarray]:
    """Return a sentence's tokens, padded to a fixed number."""
    found = {name: array[0, :TOKENS] for name, array in minilm.tokens([sentence]).items()}
    return {name: np.pad(array, (0, TOKENS - len(array))) for name, array in found.items()}


CASES: dict[str, Callable[[Path], Case]] = {"digits_cnn": _digits, "ds_cnn": _ds_cnn, "minilm": _minilm}


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(tuple(CASES)))
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(models: tuple[str, ...], as_json: bool) -> None:
    """Compare the formats."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    rows = []
    for row in (row for name in models or CASES for row in _rows(name)):
        click.echo(row, err=True)
        rows.append(row)
    show(rows, as_json)


def _rows(name: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as scratch:
        folder = Path(scratch)
        case = CASES[name](folder)
        for target in case.targets:
            integers: float | None = None
            for precision, settings in WAYS[target].items():
                if precision == "binary" and case.tune is None:
                    continue
                click.echo(f"{name}: {target}, {precision}", err=True)
                run = _export(case, target, precision, settings, folder)
                assert run.latency is not None
                integers = run.latency.median if precision == "int8" else integers
                speed = run.baseline.speedup if run.baseline else (integers or run.latency.median) / run.latency.median
                yield {
                    "model": name,
                    "target": target,
                    "precision": precision,
                    "quality": _quality(run, folder / "out"),
                    "size KiB": run.artifact.memory.get("flash", run.artifact.bytes) / 1024,
                    "speed": speed,
                    "tuned": case.tune if precision == "binary" else None,
                    "formats": _formats(run),
                }


def _export(case: Case, target: str, precision: str, settings: Settings, folder: Path) -> Run:
    options: Settings = {**case.loading, **settings, "calib": str(case.calib), "threads": 1}
    options["precision"] = precision.split(",")[0]
    if precision == "auto":
        options |= case.limits
    if precision == "binary":
        # Microcontrollers have no float beside the signs.
        options["precision"] = "int8" if target.startswith("cortex") else "fp32"
        options |= {"recipe": "binary", "tune": case.tune, "force": True}
    if case.data is not None:
        options["data"] = str(case.data)
    return edgeopt.export(case.model, target, folder / "out", **options)


def _formats(run: Run) -> str | None:
    if run.search is None:
        return None
    counts = run.search.trials[run.search.chosen].counts
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _quality(run: Run, bundle: Path) -> float:
    """Return the accuracy, or MiniLM's mean cosine."""
    if run.accuracy is not None:
        return run.accuracy.exported
    session, model, cosines = open_bundle(bundle), minilm.build(), []
    for sentence in minilm.HELD_OUT[::2][:HELD_OUT]:
        sample = {name: array[None] for name, array in _filled(sentence).items()}
        with torch.no_grad():
            wanted = model(**{name: torch.from_numpy(array) for name, array in sample.items()}).numpy()[0]
        got = next(iter(session.run(sample).values()))[0]
        cosines.append(float(wanted @ got / np.linalg.norm(wanted) / np.linalg.norm(got)))
    session.close()
    return float(np.mean(cosines))


if __name__ == "__main__":
    main()
