"""Size and build time of engines for GeForce RTX, built without a GPU, and what is lost by each precision.

    python -m benchmarks.engines [--json] [MODEL ...]

Every model is exported to `rtx` in every precision, for a device that has it, calibrated on 16 samples, int8 without
its recoveries. "error" is of the outputs in ONNX Runtime against torch. Build times are of TensorRT-RTX alone, on this
machine's CPU. Needs the extra `rtx`; about six minutes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

import edgeopt
from benchmarks.table import show
from edgeopt.ops.linear_attention import linear_attention
from edgeopt.targets.tensorrt.rtx.build import build
from tests.models import minilm
from tests.models import mlperf_tiny as tiny

PRECISIONS = {
    "fp16": ("rtx-30", "8.6"),
    "int8": ("rtx-30", "8.6"),
    "int4": ("rtx-30", "8.6"),
    "fp8": ("rtx-40", "8.9"),
    "nvfp4": ("rtx-50", "12.0"),
}
SAMPLES = 16


class LinearVit(nn.Module):
    """A vision transformer of DeiT-tiny's shape, 196 tokens, with linear attention, random weights."""

    def __init__(self, width: int = 192, heads: int = 3, blocks: int = 6) -> None:
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * blocks))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(blocks)
        )
        self.head = nn.Linear(width, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` [1, 3, 224, 224]."""
        tokens = self.patches(x).flatten(2).mT
        for index, (qkv, out, mlp) in enumerate(zip(self.qkv, self.out, self.mlp, strict=True)):
            q, k, v = qkv(self.norms[2 * index](tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = linear_attention(q, k, v, "elu")
            tokens = tokens + out(mixed.transpose(1, 2).flatten(2))
            tokens = tokens + mlp(self.norms[2 * index + 1](tokens))
        return self.head(tokens.mean(1))


def _resnet8() -> tuple[nn.Module, dict[str, np.ndarray]]:
    images = np.random.default_rng(0).random((SAMPLES, 3, 32, 32), dtype=np.float32) * 255
    return tiny.build("resnet8"), {"x": images}


def _minilm() -> tuple[nn.Module, dict[str, np.ndarray]]:
    return minilm.build(), minilm.tokens(minilm.SENTENCES[:SAMPLES])


def _vit() -> tuple[nn.Module, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((SAMPLES, 3, 224, 224), dtype=np.float32)
    return LinearVit().eval(), {"x": images}


MODELS: dict[str, Callable[[], tuple[nn.Module, dict[str, np.ndarray]]]] = {
    "resnet8": _resnet8,
    "minilm": _minilm,
    "vit-linear": _vit,
}


def _row(name: str, precision: str, folder: Path) -> dict[str, Any]:
    model, samples = MODELS[name]()
    np.savez(folder / "calib.npz", **samples)
    inputs = {key: torch.from_numpy(value[:1]) for key, value in samples.items()}
    target, capability = PRECISIONS[precision]
    options = {"precision": precision, "calib": str(folder / "calib.npz"), "recover": ()}
    run = edgeopt.export(model, target, folder / "out", inputs=inputs, **options)
    start = time.perf_counter()
    engine = build(folder / "out" / "model.onnx", [capability], ())
    seconds = time.perf_counter() - start
    return {
        "model": name,
        "target": target,
        "precision": precision,
        "ONNX KiB": (folder / "out" / "model.onnx").stat().st_size // 1024,
        "engine KiB": len(engine.plan) // 1024,
        "build s": round(seconds, 1),
        "error": f"{run.error.relative:.1e}" if run.error else None,
        "kept in FP32 or as it was": len(run.fallbacks),
    }


@click.command(help=__doc__)
@click.argument("models", nargs=-1)
@click.option("--json", "as_json", is_flag=True)
def main(models: tuple[str, ...], as_json: bool) -> None:
    """Print the table."""
    rows = []
    for name in models or MODELS:
        for precision in PRECISIONS:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(_row(name, precision, Path(folder)))
    show(rows, as_json)


if __name__ == "__main__":
    main()
