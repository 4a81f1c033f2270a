"""What ``--add-pass`` adds rewrites the float program: it runs before the first pass that rounds, on every target."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.candidate.options import ExportOptions
from edgeopt.candidate.pass_list import build_passes
from edgeopt.candidate.stages import Request
from edgeopt.plugins.registry import resolve


@pytest.mark.parametrize(
    ("name", "precision"),
    [("reference", "nvfp4"), ("onnx", "int8"), ("onnx", "int4"), ("openvino", "int4"), ("jetson", "int4"),
     ("host-c", "int8"), ("reference", "fp32")],
)  # fmt: skip
def test_an_added_pass_runs_before_any_that_rounds(name: str, precision: str) -> None:
    target = resolve(name)
    options = target.Options(**{**target.device.options, "precision": precision})
    passes = build_passes(Request(target, ExportOptions(add_passes=("remove-noops",)), options))
    added = max(index for index, step in enumerate(passes) if step.name == "remove-noops")
    assert all(step.kind == "exact" for step in passes[:added])
    assert precision == "fp32" or passes[added + 1].kind != "exact"


def test_stored_weights_stay_stored(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)).eval()
    sizes = {}
    for added in ((), ("fold-constants",)):
        out = tmp_path / "-".join(("out", *added))
        edgeopt.export(
            model, "reference", out, inputs={"input": torch.randn(1, 64)}, precision="nvfp4", add_passes=added,
            baseline=False, max_seconds=0.02, samples=1, accept_difference="the size alone is looked at",
        )  # fmt: skip
        sizes[added] = (out / "model.pt2").stat().st_size
    assert sizes["fold-constants",] == sizes[()]
