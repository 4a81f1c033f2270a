"""Latency of edgeopt's INT8 on OpenVINO's CPU against OpenVINO's own best: NNCF post-training INT8.

    python -m benchmarks.openvino_int8 [--seconds 10] [--json] [MODEL ...]

Both calibrate on the same samples, both run what stays float in OpenVINO's default precision (bf16 where the CPU has
it), one thread, batch 1, one inference each in turn in one process. NNCF gets the model by both ways into OpenVINO,
from torch directly and through ONNX, and counts with the faster; transformers get its model type for them. "ratio"
is NNCF's median latency over edgeopt's: above 1 edgeopt is faster. Needs ``nncf``. Two to five minutes for all.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

import edgeopt
from benchmarks.table import show
from tests.models import minilm, photographs, zoo
from tests.models import mlperf_tiny as tiny
from tests.typed import savez

TOKENS = 128
SAMPLES = 32
WARMUP = 20

_WAYS = ("edgeopt", "default", "nncf, torch", "nncf, onnx")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model, its calibration samples (arrays by input name), and whether it is a transformer."""

    model: nn.Module
    samples: Arrays
    is_transformer: bool = False

    def sample(self, index: int) -> Arrays:
        """Return one sample as a batch of one."""
        return {name: array[index : index + 1] for name, array in self.samples.items()}


def _resnet8() -> Case:
    return Case(tiny.build("resnet8"), {"x": photographs.crops(SAMPLES, 32, seed=1)})


def _ds_cnn() -> Case:
    return Case(tiny.build("ds_cnn"), {"x": tiny.kws01()[0][:SAMPLES]})


def _mobilenet() -> Case:
    return Case(tiny.build("mobilenet_v1_025"), {"x": photographs.crops(SAMPLES, 96, seed=1) / 255})


def _minilm() -> Case:
    """Sentences joined until they fill the 128 tokens."""
    shifted = [minilm.SENTENCES[i:] + minilm.SENTENCES[:i] for i in range(SAMPLES)]
    samples = minilm.tokens([" ".join(sentences) for sentences in shifted])
    return Case(minilm.build(), {name: array[:, :TOKENS] for name, array in samples.items()}, is_transformer=True)


def _deit_tiny() -> Case:
    model, inputs = zoo.build("deit")
    (name,) = inputs
    images = photographs.crops(8, 224, seed=1) / 127.5 - 1
    return Case(model, {name: images.astype(np.float32)}, is_transformer=True)


CASES: dict[str, Callable[[], Case]] = {
    "resnet8": _resnet8,
    "ds_cnn": _ds_cnn,
    "mobilenet_v1_025": _mobilenet,
    "minilm": _minilm,
    "deit_tiny": _deit_tiny,
}


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(tuple(CASES)))
@click.option("--seconds", default=10.0, show_default=True, help="Time to measure each model.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(models: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Compare edgeopt's INT8 with NNCF's on this machine."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    rows = []
    for name in models or CASES:
        click.echo(name, err=True)
        rows.append({"model": name, **compare(CASES[name](), seconds)})
    ratios = [row["ratio"] for row in rows]
    rows.append({**dict.fromkeys(rows[0]), "model": "geometric mean", "ratio": float(np.exp(np.mean(np.log(ratios))))})
    show(rows, as_json)


def compare(case: Case, seconds: float) -> dict[str, Any]:
    """Return one model's medians in ms, edgeopt's beside NNCF's and OpenVINO's default without INT8."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_models({"edgeopt": _edgeopt(case, Path(folder)), **nncf_models(case, Path(folder))})
        medians = alternate(inferences(compiled), case.sample(0), seconds)
    best = min(median for name, median in medians.items() if name.startswith("nncf"))
    return {f"{name} ms": medians.get(name) for name in _WAYS} | {"ratio": best / medians["edgeopt"]}


def inferences(requests: dict[str, Any]) -> dict[str, Callable[[Arrays], object]]:
    """Return what runs each of OpenVINO's requests, without a copy of its outputs."""
    return {name: partial(request.infer, share_outputs=True) for name, request in requests.items()}


def alternate(runs: dict[str, Callable[[Arrays], object]], sample: Arrays, seconds: float) -> dict[str, float]:
    """Run one inference each in turn; return the median latencies in ms."""
    for run in runs.values():
        for _ in range(WARMUP):
            run(sample)
    costs: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run(sample)
            costs[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) * 1e3 for name, values in costs.items()}


def _edgeopt(case: Case, folder: Path) -> Path:
    savez(folder / "calibration.npz", case.samples)
    edgeopt.export(
        case.model,
        "openvino",
        folder / "edgeopt",
        inputs=case.sample(0),
        precision="int8",
        calib=str(folder / "calibration.npz"),
        baseline=False,
        max_seconds=0.1,
    )
    return folder / "edgeopt" / "model.xml"


def nncf_models(case: Case, folder: Path) -> dict[str, Any]:
    """Return the model in default precision, and quantized by NNCF from both ways into OpenVINO."""
    import nncf
    import openvino

    first = {name: torch.from_numpy(array) for name, array in case.sample(0).items()}
    exported = torch.export.export(case.model, (), first)
    torch.onnx.export(exported, f=str(folder / "model.onnx"), dynamo=True, verbose=False)
    direct = openvino.convert_model(exported)
    for port, name in zip(direct.inputs, case.samples, strict=True):
        port.get_tensor().add_names({name})
    sources = {"torch": direct, "onnx": openvino.convert_model(folder / "model.onnx")}
    count = len(next(iter(case.samples.values())))
    data = nncf.Dataset([case.sample(index) for index in range(count)])
    kind = nncf.ModelType.TRANSFORMER if case.is_transformer else None
    with redirect_stdout(sys.stderr):  # its progress bars
        found = {f"nncf, {way}": nncf.quantize(model, data, model_type=kind) for way, model in sources.items()}
    return {"default": sources["onnx"], **found}


def compile_models(models: dict[str, Any]) -> dict[str, Any]:
    """Return an inference request of each model, for one thread; those that do not compile are named and left out."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    compiled = {}
    for name, model in models.items():
        try:
            compiled[name] = core.compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            click.echo(f"{name} does not compile: {str(error).strip().splitlines()[-1]}", err=True)
    return compiled


if __name__ == "__main__":
    main()
