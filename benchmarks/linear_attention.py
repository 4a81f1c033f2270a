"""Linear attention on OpenVINO's CPU: the kernel of our own against standard operators, and both against softmax.

    python -m benchmarks.linear_attention [--seconds 2] [--all] [--json]

Three heads of 64 channels between two linear layers, as in DeiT-tiny: queries, keys and values are [1, tokens, 192],
split into heads and joined again by transposes, which the kernel absorbs. "sla" is the ReLU map with its depthwise
branch, "bare" the ReLU map on operands that have their heads first already, so that only multiplications count. One
thread, float32, one inference each in turn in one process: only ratios count. "error" is the kernel's against torch,
relative to the largest value. Takes about three minutes, with --all (the other maps) six.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from torch.nn import functional

from benchmarks.alternate import medians
from benchmarks.table import show
from edgeopt.ir.metrics import compare
from edgeopt.ir.program import Program
from edgeopt.ops.linear_attention import linear_attention
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino.build import convert, save
from edgeopt.targets.openvino.native import NONE, kernels_of
from edgeopt.targets.openvino.session import OpenVinoSession

HEADS, SIZE = 3, 64
TOKENS = (64, 144, 196, 784, 1024, 4096)
FORMS = ("relu", "sla", "bare")
OTHERS = ("elu", "hedgehog-split-softmax", "causal relu")
_KERNEL = 5
_WAYS = ("kernel", "composed", "softmax")


class Attention(nn.Module):
    """One form of attention over heads that lie side by side, or first where the form is bare."""

    def __init__(self, form: str, tokens: int) -> None:
        super().__init__()
        self.kind, self.causal = form.replace("causal ", "").replace("sla", "relu"), form.startswith("causal")
        self.kind, self.is_bare = self.kind.replace("bare", "relu"), form == "bare"
        side = math.isqrt(tokens)
        self.grid = [side, side] if form == "sla" else None
        self.depthwise = nn.Parameter(torch.randn(SIZE, 1, _KERNEL, _KERNEL) / _KERNEL) if self.grid else None
        maps = 2 if self.kind.startswith("hedgehog") else 0
        self.maps = nn.ParameterList(torch.randn(HEADS, SIZE, SIZE) * SIZE**-0.5 for _ in range(maps))

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Return [1, tokens, 192], or [1, heads, tokens, 64] where the form is bare."""
        if not self.is_bare:
            q, k, v = (x.unflatten(-1, (HEADS, SIZE)).transpose(1, 2) for x in (q, k, v))
        out = self.attend(q, k, v)
        return out if self.is_bare else out.transpose(1, 2).flatten(2)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Return the attention of [1, heads, tokens, 64]."""
        if self.kind == "softmax":
            return functional.scaled_dot_product_attention(q, k, v)
        maps = [self.maps[0], None, self.maps[1], None] if self.maps else [None] * 4
        return linear_attention(q, k, v, self.kind, self.causal, *maps, self.depthwise, None, self.grid)


@click.command()
@click.option("--seconds", default=2.0, show_default=True, help="Seconds of measuring each of three ways.")
@click.option("--all", "with_others", is_flag=True, help="Measure other feature maps and the causal form too.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def main(seconds: float, with_others: bool, as_json: bool) -> None:
    """Measure every form at every number of tokens and print the table."""
    forms = FORMS + (OTHERS if with_others else ())
    show([_row(form, tokens, seconds) for form in forms for tokens in TOKENS], as_json)


def _row(form: str, tokens: int, seconds: float) -> dict[str, Any]:
    shape = (1, HEADS, tokens, SIZE) if form == "bare" else (1, tokens, HEADS * SIZE)
    inputs = tuple(torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    linear = to_program(Attention(form, tokens), inputs)
    sample = {spec.name: x.numpy() for spec, x in zip(linear.inputs, inputs, strict=True)}
    softmax = Attention("bare" if form == "bare" else "softmax", tokens)
    softmax.kind = "softmax"
    programs = {"kernel": linear, "composed": linear, "softmax": to_program(softmax, inputs)}
    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        paths = {name: converted(programs[name], Path(folder) / name, with_kernel=name == "kernel") for name in _WAYS}
        median = medians({name: (path, "f32") for name, path in paths.items()}, sample, seconds)
        session = OpenVinoSession(paths["kernel"], "fp32", threads=1)
        error = compare(linear.run(sample), session.run(sample)).relative
    return {
        "form": form,
        "tokens": tokens,
        **{f"{name}_us": value for name, value in median.items()},
        "speedup_over_composed": median["composed"] / median["kernel"],
        "speedup_over_softmax": median["softmax"] / median["kernel"],
        "error": error,
    }


def converted(program: Program, folder: Path, with_kernel: bool) -> Path:
    """Return the model file of a program in a new folder, our operators by their kernels or written out."""
    folder.mkdir()
    model = convert(program, folder, kernels_of(program) if with_kernel else NONE).model
    save(model, program, folder / "model.xml", {})
    return folder / "model.xml"


if __name__ == "__main__":
    main()
