"""Products of two activations of signs on OpenVINO's CPU: the part ``products`` of benchmarks.binary."""

from __future__ import annotations

import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.alternate import medians
from edgeopt.ops.binary_matmul import binary_matmul
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino.build import convert, save
from edgeopt.targets.openvino.native import NONE, kernels_of
from edgeopt.targets.openvino.sdk import core, openvino

ATTENTIONS = ((3, 196, 64), (12, 196, 64), (12, 128, 64), (3, 512, 64))
"""Heads, tokens and channels of a head."""


class Scores(nn.Module):
    """Queries by keys, [1, heads, tokens, channels] both: signs by signs."""

    is_binary = False

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return [1, heads, tokens, tokens]."""
        b = b.transpose(-1, -2)
        return binary_matmul(a, b, 0.0, 0.0, 0.125, False) if self.is_binary else a @ b * 0.125


class Mixture(nn.Module):
    """Attention [1, heads, tokens, tokens] by values [1, heads, tokens, channels]: ones and zeros by signs."""

    is_binary = False

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return [1, heads, tokens, channels]."""
        return binary_matmul(a, b, -0.5, 0.0, 0.125, True) if self.is_binary else a @ b * 0.125


def rows(seconds: float) -> list[dict[str, Any]]:
    """Return the median latencies in us of both products of each attention, and the speed-ups of the kernel."""
    return [
        _row(kind, heads, tokens, channels, seconds)
        for heads, tokens, channels in ATTENTIONS
        for kind in (Scores, Mixture)
    ]


def _row(kind: type[Scores] | type[Mixture], heads: int, tokens: int, channels: int, seconds: float) -> dict[str, Any]:
    shape = [heads, tokens, channels, tokens] if kind is Scores else [heads, tokens, tokens, channels]
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(1, *shape[:3], generator=generator)
    b = torch.randn(1, heads, tokens, channels, generator=generator)
    sample = {"a": a.numpy(), "b": b.numpy()}
    product, signs = kind(), kind()
    signs.is_binary = True
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as name:
        folder = Path(name)
        kernel = (_model(signs, sample, folder / "kernel.xml", with_kernel=True), "f32")
        plain = _model(product, sample, folder / "plain.xml")
        others = {
            "composed": (_model(signs, sample, folder / "composed.xml"), "bf16"),
            "bf16": (plain, "bf16"),
            "int8": (_int8(plain, sample), "f32"),  # with bf16 it would convert what it returns
        }
        us: dict[str, float] = {}
        speedups: dict[str, float] = {}
        for other, model in others.items():
            # Two at a time: what others leave in the caches is no part of the comparison.
            median = medians({"kernel": kernel, other: model}, sample, seconds)
            us |= median
            speedups[f"speedup_over_{other}"] = median[other] / median["kernel"]
    times = {f"{name}_us": us[name] for name in ("kernel", *others)}
    return {"product": kind.__name__.lower(), "heads, n, k, m": shape, **times, **speedups}


def _model(module: nn.Module, sample: dict[str, np.ndarray], path: Path, with_kernel: bool = False) -> Path:
    program = to_program(module, [torch.from_numpy(array) for array in sample.values()])
    kernels = kernels_of(program) if with_kernel else NONE
    save(convert(program, path.parent, kernels).model, program, path, {})
    return path


def _int8(path: Path, sample: dict[str, np.ndarray]) -> Path:
    """Quantize both operands of a model by NNCF; edgeopt leaves products that stand alone in float."""
    import nncf

    with redirect_stdout(sys.stderr):  # its progress bars
        model = nncf.quantize(
            core().read_model(path), nncf.Dataset([sample]), subset_size=1, model_type=nncf.ModelType.TRANSFORMER
        )
    assert sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops()) == 2
    quantized = path.with_name("int8.xml")
    openvino().save_model(model, quantized, compress_to_fp16=False)
    return quantized
