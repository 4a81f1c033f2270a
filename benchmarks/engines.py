"""Jetson bundles of real-sized models in every precision, built by TensorRT-RTX as a check: sizes, times, errors.

    python -m benchmarks.engines [--json] [MODEL ...]

Every model is exported to a Jetson that has the precision, calibrated on 16 samples, int8 without its recoveries, and
its ONNX built by TensorRT-RTX for a GeForce that has it; that engine is not the device's. "error" is of the outputs in
ONNX Runtime against torch; "loads in ORT" is of the file as it stands (ONNX Runtime has no FP4: there constants are
dequantized before the comparison). "plug-in nodes" are those of the bundle's other variant. Build times are of
TensorRT-RTX alone, on this machine's CPU. The DeiTs have random weights; attention and signs are not
tuned: sizes do not depend on that, and errors are against the same untuned model. Needs the extra `rtx`; about ten
minutes.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch

import edgeopt
from benchmarks.table import show
from edgeopt.deploy.overrides import Overrides
from edgeopt.ir import context
from edgeopt.ir.convert import to_exported
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program
from edgeopt.onnx.session import OnnxSession
from edgeopt.passes.exact.pre_rmsnorm import PreRmsnorm
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.binarize import Binarize
from edgeopt.passes.substitution.linear_attention import LinearAttention
from edgeopt.plugins.testing import to_program
from edgeopt.targets.tensorrt.rtx.build import build
from samples import digits
from samples.digits_cnn import DigitsCnn
from tests.models import minilm, zoo
from tests.models import mlperf_tiny as tiny
from tests.typed import savez

PRECISIONS = {
    "fp16": ("jetson-orin", "8.6"),
    "int8": ("jetson-orin", "8.6"),
    "int4": ("jetson-orin", "8.6"),
    "fp8": ("jetson-thor", "8.9"),
    "nvfp4": ("jetson-thor", "12.0"),
}
SAMPLES = 16

Samples = dict[str, np.ndarray]
Case = tuple[Program, Samples]


def _resnet8() -> Case:
    images = np.random.default_rng(0).random((SAMPLES, 3, 32, 32), dtype=np.float32) * 255
    return to_program(tiny.build("resnet8"), [torch.from_numpy(images[:1])]), {"x": images}


def _minilm() -> Case:
    samples = minilm.tokens(minilm.SENTENCES[:SAMPLES])
    return to_program(minilm.build(), [torch.from_numpy(array[:1]) for array in samples.values()]), samples


def _deit(*passes: Pass) -> Case:
    model, inputs = zoo.build("deit")
    program = to_program(model, list(inputs.values()))
    (spec,) = program.inputs
    samples = {spec.name: np.random.default_rng(0).standard_normal((SAMPLES, 3, 224, 224), dtype=np.float32)}
    return _rewritten(program, samples, passes), samples


def _deit_linear() -> Case:
    return _deit(LinearAttention("elu", force=True), PreRmsnorm())


def _deit_signs() -> Case:
    return _deit(Binarize())


def _digits_signs() -> Case:
    torch.manual_seed(0)
    data, model = digits.load(), DigitsCnn()
    digits.train(model, data, epochs=15, learning_rate=1e-2)
    samples = {"images": data.train_images[:SAMPLES].numpy()}
    return _rewritten(to_program(model, [data.train_images[:1]]), samples, [Binarize()]), samples


def _rewritten(program: Program, samples: Samples, passes: Sequence[Pass]) -> Program:
    few = [{name: array[at : at + 1] for name, array in samples.items()} for at in range(4)]
    return Pipeline(passes).run(program, context.EMPTY.adding(context.SAMPLES, few))[0]


MODELS: dict[str, tuple[Callable[[], Case], tuple[str, ...]]] = {
    "resnet8": (_resnet8, tuple(PRECISIONS)),
    "minilm": (_minilm, tuple(PRECISIONS)),
    "deit-tiny, linear attention": (_deit_linear, tuple(PRECISIONS)),
    "deit-tiny of signs": (_deit_signs, ("fp16",)),
    "digits CNN of signs": (_digits_signs, ("fp16",)),
}


def _row(name: str, precision: str, case: Case, folder: Path) -> dict[str, Any]:
    program, samples = case
    savez(folder / "calib.npz", samples)
    target, capability = PRECISIONS[precision]
    options: Overrides = {"precision": precision, "calib": str(folder / "calib.npz"), "recover": ()}
    run = edgeopt.export(to_exported(program), target, folder / "out", **options)
    model = folder / "out" / "model.onnx"
    engine = build(model, [capability], ())
    return {
        "model": name,
        "bundle": target,
        "precision": precision,
        "ONNX KiB": sum(path.stat().st_size for path in model.parent.glob("model.onnx*")) // 1024,
        "loads in ORT": "no FP4 there" if precision == "nvfp4" and _has_fp4(model) else _loads(model),
        "plug-in nodes": _plugin_nodes(folder / "out" / "model_plugins.onnx"),
        "engine KiB": len(engine.plan) // 1024,
        "build s": round(engine.seconds, 1),
        "error": f"{run.error.relative:.1e}" if run.error else None,
        "kept in FP32 or as it was": len(run.fallbacks),
    }


def _loads(model: Path) -> str:
    OnnxSession(model, 1, "none").close()
    return "yes"


def _has_fp4(model: Path) -> bool:
    stored = onnx.load(model, load_external_data=False).graph.initializer
    return any(tensor.data_type == onnx.TensorProto.FLOAT4E2M1 for tensor in stored)


def _plugin_nodes(model: Path) -> str:
    """Return ``12 LinearAttention, ...``; a dash where the bundle has no such variant."""
    if not model.exists():
        return "-"
    nodes = onnx.load(model, load_external_data=False).graph.node
    counts = Counter(node.op_type for node in nodes if node.domain == "edgeopt")
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


@click.command(help=__doc__)
@click.argument("models", nargs=-1)
@click.option("--json", "as_json", is_flag=True)
def main(models: tuple[str, ...], as_json: bool) -> None:
    """Print the table."""
    rows = []
    for name in models or MODELS:
        make, precisions = MODELS[name]
        for precision in precisions:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(_row(name, precision, make(), Path(folder)))
                click.echo(json.dumps(rows[-1]), err=True)  # in case the next one fails
    show(rows, as_json)


if __name__ == "__main__":
    main()
