"""Hybrid attention on OpenVINO's CPU: the kernel of our own against standard operators, and both against softmax.

    python -m benchmarks.hybrid_attention [--window 64] [--seconds 2] [--json]

Heads of MiniLM (12 of 32 channels) and of DeiT-tiny (3 of 64) between two linear layers: queries, keys and values are
[1, tokens, heads * channels], split and joined by transposes, which the kernel absorbs. Softmax to the tokens of three
blocks of ``window``, the Hedgehog map of LoLCATs for the others. One thread, float32, one inference each in turn in one
process: only ratios count. "error" is the kernel's against torch, relative to the largest value. About two minutes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from torch.nn import functional

from benchmarks.alternate import medians
from benchmarks.linear_attention import converted
from benchmarks.table import show
from edgeopt.ir.metrics import compare
from edgeopt.ops.hybrid_attention import hybrid_attention
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino.session import OpenVinoSession

SHAPES = ((12, 32), (3, 64))
TOKENS = (128, 256, 512, 1024, 2048)


class Attention(nn.Module):
    """Softmax attention over heads that lie side by side, or a hybrid where there is a window."""

    def __init__(self, heads: int, size: int, window: int = 0) -> None:
        super().__init__()
        self.heads, self.scale, self.window = heads, size**-0.5, window
        self.gate = nn.Parameter(torch.zeros(heads, 1, 1))
        self.maps = nn.ParameterList(torch.randn(heads, size, size) * self.scale for _ in "qk")

    def forward(self, *qkv: torch.Tensor) -> torch.Tensor:
        """Return [1, tokens, heads * channels]."""
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in qkv)
        if self.window:
            weights = (self.maps[0], None, self.maps[1], None)
            name = "hedgehog-split-softmax"
            out = hybrid_attention(q, k, v, self.gate, name, self.window, self.scale, False, *weights)
        else:
            out = functional.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).flatten(2)


@click.command()
@click.option("--window", default=64, show_default=True, help="Tokens of a block.")
@click.option("--seconds", default=2.0, show_default=True, help="Seconds of measuring each of three ways.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def main(window: int, seconds: float, as_json: bool) -> None:
    """Measure both shapes at every number of tokens and print the table."""
    show([_row(shape, tokens, window, seconds) for shape in SHAPES for tokens in TOKENS], as_json)


def _row(shape: tuple[int, int], tokens: int, window: int, seconds: float) -> dict[str, Any]:
    heads, size = shape
    inputs = tuple(torch.randn(1, tokens, heads * size) for _ in "qkv")
    hybrid, softmax = (to_program(Attention(*shape, length), inputs) for length in (window, 0))
    sample = {spec.name: x.numpy() for spec, x in zip(hybrid.inputs, inputs, strict=True)}
    programs = {"kernel": hybrid, "composed": hybrid, "softmax": softmax}
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        paths = {n: converted(p, Path(folder) / n, with_kernel=n == "kernel") for n, p in programs.items()}
        median = medians({name: (path, "f32") for name, path in paths.items()}, sample, seconds)
        found = OpenVinoSession(paths["kernel"], "fp32", threads=1).run(sample)
    return {
        "heads": heads,
        "channels": size,
        "tokens": tokens,
        "window": window,
        **{f"{name}_us": value for name, value in median.items()},
        "speedup_over_composed": median["composed"] / median["kernel"],
        "speedup_over_softmax": median["softmax"] / median["kernel"],
        "error": compare(hybrid.run(sample), found).relative,
    }


if __name__ == "__main__":
    main()
