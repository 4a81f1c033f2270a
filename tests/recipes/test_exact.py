"""Recipe ``exact``, and the same with CRMSNorm, in the ONNX file that comes out."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.records.run import Run
from samples.digits_vit import Block
from tests.passes.builders import randomized
from tests.typed import some

TOKENS, WIDTH = 9, 16


class Encoder(nn.Module):
    """Two pre-LayerNorm blocks, the first between scales a channel, and a head of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.scale = nn.Linear(6, WIDTH), nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.blocks = nn.Sequential(Block(WIDTH, 2, 2), Block(WIDTH, 2, 2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.scale * self.stem(x))).mean(1))


def export(output: Path, recipe: str) -> tuple[Run, onnx.ModelProto]:
    inputs = {"x": torch.randn(1, TOKENS, 6)}
    run = edgeopt.export(randomized(Encoder()), "onnx", output, inputs=inputs, recipe=recipe, baseline=False)
    return run, onnx.shape_inference.infer_shapes(onnx.load(output / "model.onnx"))


def widths(model: onnx.ModelProto) -> list[int]:
    """Return the channels of what sums give that are as long as the tokens: those of the residual stream."""
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    sums = [shapes.get(node.output[0], []) for node in model.graph.node if node.op_type == "Add"]
    return [shape[-1] for shape in sums if len(shape) == 3 and shape[-1] in (WIDTH, WIDTH - 1)]


def test_exact_folds_the_scale_that_would_stand_in_the_way(tmp_path: Path) -> None:
    run, model = export(tmp_path / "out", "exact")
    assert run.ok and some(run.error).relative < 1e-5
    found = Counter(node.op_type for node in model.graph.node)
    assert not found["LayerNormalization"] and set(widths(model)) == {WIDTH}
    (entry,) = (entry for entry in run.passes if entry.name == "pre-rmsnorm")
    assert entry.applied == 5 and not entry.refused


def test_a_recipe_with_crmsnorm_exports_a_stream_of_one_channel_less(tmp_path: Path) -> None:
    text = (resources.files("edgeopt.recipes") / "exact.toml").read_text("utf-8")
    assert "\ncompress = false\n" in text
    path = tmp_path / "compressed.toml"
    path.write_text(text.replace("\ncompress = false\n", "\ncompress = true\n"))
    run, model = export(tmp_path / "out", str(path))
    assert run.ok and some(run.error).relative < 1e-5
    assert not {"LayerNormalization", "RMSNormalization"} & {node.op_type for node in model.graph.node}
    assert WIDTH not in widths(model) and widths(model).count(WIDTH - 1) >= 4
    weights = [tuple(tensor.dims) for tensor in model.graph.initializer]
    assert not any(WIDTH in shape[-2:] and 2 * WIDTH in shape for shape in weights), weights


@pytest.mark.parametrize("value", ["1", '"yes"'])
def test_compress_is_a_truth(tmp_path: Path, value: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'[[passes]]\nname = "pre-rmsnorm"\ncompress = {value}\n')
    with pytest.raises(edgeopt.UserError, match="'compress' of pass 'pre-rmsnorm'"):
        export(tmp_path / "out", str(path))
