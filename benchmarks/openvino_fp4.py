"""Latency of weights in four bits on OpenVINO's CPU: edgeopt's grouped int8 against OpenVINO's own MXFP4.

    python -m benchmarks.openvino_fp4 [--rows 128] [--size 768] [--seconds 10] [--json]

One linear of size x size on so many rows, floats in and out, one thread, one inference each in turn in one process.
"executed" is what OpenVINO says of the product: its kernel, the type of its weights, and where it quantizes activations
to multiply integers how many of them share a scale. OpenVINO's own MXFP4 (NNCF's E2M1 weight compression, groups of 32)
is unpacked and multiplied in float32 or in bf16; "over_f32" and "over_bf16" are the medians of these over the row's.
"error" is relative to the linear in float; what the weights' four bits cost is the error of OpenVINO's MXFP4 in f32.
Needs ``nncf``. About half a minute.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

import edgeopt
from benchmarks.openvino_int8 import alternate, inferences
from benchmarks.table import show
from edgeopt.plugins.registry import resolve
from edgeopt.quant.blockwise import FORMATS
from edgeopt.targets.openvino import group_size
from edgeopt.targets.openvino.sdk import core
from edgeopt.targets.openvino.session import activations_at_once

NAME = "input"


@click.command()
@click.option("--rows", default=128, show_default=True, help="Rows of the input (M).")
@click.option("--size", default=768, show_default=True, help="Inputs and outputs (K and N).")
@click.option("--seconds", default=10.0, show_default=True, help="Time to measure.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(rows: int, size: int, seconds: float, as_json: bool) -> None:
    """Compare formats on this machine."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(size, size)), torch.randn(rows, size)
    requests = {**_edgeopt(model, x), **_own(model, x)}
    medians = alternate(inferences(requests), {NAME: x.numpy()}, seconds)
    with torch.no_grad():
        expected = model(x).numpy()
    show([_row(name, medians, request, expected) for name, request in requests.items()], as_json)


def _row(name: str, medians: dict[str, float], request: Any, expected: np.ndarray) -> dict[str, Any]:
    got = request.get_output_tensor(0).data
    error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    over = {f"over_{hint}": medians[f"openvino mxfp4, {hint}"] / medians[name] for hint in ("f32", "bf16")}
    return {"format": name, "us": medians[name] * 1e3, **over, "error": error, "executed": _executed(request)}


def _executed(request: Any) -> str:
    compiled = request.get_compiled_model()
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    (product,) = [one for one in facts if one["layerType"].value == "FullyConnected"]
    group = compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")
    kernel = f"{product['primitiveType'].value}, weights {product['runtimePrecision'].value}"
    return f"{kernel}, groups of {group}" if product["runtimePrecision"].value == "i8" else kernel


def _edgeopt(model: nn.Module, x: torch.Tensor) -> dict[str, Any]:
    """Return the artifacts of all formats, loaded as their sessions load them."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            out = Path(folder) / name
            options = {"precision": name, "baseline": False, "max_seconds": 0.1}
            edgeopt.export(model, "openvino", out, inputs={NAME: x}, **options)  # type: ignore[arg-type]
            model_read = core().read_model(out / "model.xml")
            group = activations_at_once(model_read, group_size(resolve("openvino").Options(precision=name)))  # type: ignore[arg-type]
            found[f"edgeopt {name}"] = _request(model_read, "f32", DYNAMIC_QUANTIZATION_GROUP_SIZE=group)
    return found


def _own(model: nn.Module, x: torch.Tensor) -> dict[str, Any]:
    """Return OpenVINO's own MXFP4 and the linear in float, in both arithmetics."""
    import nncf
    import openvino

    def converted() -> Any:
        plain = openvino.convert_model(model, example_input=x, input=list(x.shape))
        plain.inputs[0].get_tensor().set_names({NAME})
        return plain

    with redirect_stdout(sys.stderr):  # its progress bars
        mode = nncf.CompressWeightsMode.MXFP4
        packed = nncf.compress_weights(converted(), mode=mode, group_size=32, all_layers=True)
    models = {"openvino mxfp4": packed, "openvino plain": converted()}
    return {f"{name}, {hint}": _request(one, hint) for name, one in models.items() for hint in ("f32", "bf16")}


def _request(model: Any, hint: str, **more: int) -> Any:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": hint, **more}
    return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()


if __name__ == "__main__":
    main()
