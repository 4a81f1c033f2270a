"""DeiT-tiny of signs on OpenVINO's CPU against its INT8: the part ``deit`` of benchmarks.binary."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import edgeopt
from benchmarks import openvino_int8
from benchmarks.alternate import medians
from edgeopt.deploy.overrides import Overrides
from edgeopt.ir.context import EMPTY, SAMPLES
from edgeopt.ir.program import Program
from edgeopt.passes.substitution.binarize import Binarize
from edgeopt.passes.substitution.linear_attention import LinearAttention
from edgeopt.passes.substitution.replace_layernorm import ReplaceLayernorm
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino.sdk import openvino
from tests.models import photographs, zoo
from tests.typed import savez

SIDES = (224, 512)
"""Sides of the images in pixels; a token is 16 x 16 of them."""

_SAMPLES = 2
_INPUT = "pixel_values"


def row(side: int, seconds: float) -> dict[str, Any]:
    """Return the median latencies in ms for images of that size, and the speed-up over the faster INT8."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    model, _ = zoo.build("deit", image_size=side)
    crops = torch.from_numpy(photographs.crops(_SAMPLES, SIDES[0], seed=1) / 127.5 - 1)
    images = functional.interpolate(crops.float(), side, mode="bilinear").numpy()
    case = openvino_int8.Case(model, {_INPUT: images}, is_transformer=True)
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as name:
        folder = Path(name)
        paths = {"binary": _of_signs(model, images, folder / "binary"), **_int8(case, folder)}
        # OpenVINO's default is bf16 where the CPU has it.
        us = medians({name: (path, "bf16") for name, path in paths.items()}, case.sample(0), seconds)
    best = min(time for name, time in us.items() if name != "binary")
    milliseconds = {f"{name}_ms": time / 1e3 for name, time in us.items()}
    return {"model": "deit-tiny", "image": side, **milliseconds, "speedup_over_openvino_int8": best / us["binary"]}


def _of_signs(model: nn.Module, images: np.ndarray, folder: Path) -> Path:
    folder.mkdir()
    target = resolve("cpu")
    options = target.Options()
    program = of_signs(to_program(model, [torch.from_numpy(images[:1])]), images)
    for step in target.pipeline(options):
        program = step.build()(program).program
    target.compile(program, folder, options)
    return folder / "model.xml"


def of_signs(program: Program, images: np.ndarray) -> Program:
    """Return the program with norms that fold away, linear attention and layers of signs, fitted but not tuned."""
    samples = [{program.inputs[0].name: image[None]} for image in images]
    context = EMPTY.adding(SAMPLES, samples)
    for swap in (ReplaceLayernorm(), LinearAttention("relu", force=True), Binarize()):
        program = swap(program, context).program
    return program


def _int8(case: openvino_int8.Case, folder: Path) -> dict[str, Path]:
    savez(folder / "images.npz", case.samples)
    settings: Overrides = {"precision": "int8", "calib": str(folder / "images.npz"), "inputs": case.sample(0)}
    edgeopt.export(case.model, "cpu", folder / "int8", **settings | {"baseline": False, "max_seconds": 0.1})
    paths = {"int8": folder / "int8" / "model.xml"}
    for name, model in openvino_int8.nncf_models(case, folder).items():
        if name.startswith("nncf"):
            paths[name] = folder / f"{name}.xml"
            openvino().save_model(model, paths[name], compress_to_fp16=False)
    return paths
