"""The exact passes in sequence hold their bound on real architectures, with random weights and small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.analysis.accuracy_tracker import EXACT_BOUND, AccuracyTracker
from edgeopt.ir.program import Program
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import to_program
from tests.models import mlperf_tiny
from tests.passes.builders import ops, randomized

IMAGE = (2, 3, 64, 64)


def test_order_is_data_with_reasons() -> None:
    assert [step.build().name for step in EXACT] == [
        "fold-constants",
        "remove-noops",
        "fold-batch-norm",
        "fold-affine",
        "remove-noops",
    ]
    assert all(step.reason and step.build().kind == "exact" for step in EXACT)


def assert_exact(program: Program, *inputs: torch.Tensor) -> tuple[list[str], list[str]]:
    """Run the passes under the tracker; return the operators left and the reasons of the refusals."""
    sample = {spec.name: tensor.numpy() for spec, tensor in zip(program.inputs, inputs, strict=True)}
    pipeline = Pipeline([step.build() for step in EXACT], AccuracyTracker(program, [sample]))
    final, records = pipeline.run(program)
    assert records[-1].error is not None and records[-1].error.relative <= EXACT_BOUND
    assert not Pipeline([step.build() for step in EXACT])(final).changed
    return ops(final), [note.reason for record in records for note in record.refused if note.reason]


@mlperf_tiny.requires_shared
@pytest.mark.parametrize("name", mlperf_tiny.NAMES)
def test_mlperf_tiny(name: str) -> None:
    x = torch.from_numpy(mlperf_tiny.example_inputs(name))
    left, refused = assert_exact(to_program(mlperf_tiny.build(name), (x,)), x)
    assert "batch_norm" not in left and refused == []


def transformers_model(name: str, **config: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    found: nn.Module = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**config))
    return found


def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, "bos_token_id": 0, "eos_token_id": 0}
    found: nn.Module = transformers.GPT2LMHeadModel(transformers.GPT2Config(**small, use_cache=False))
    return found


def whisper_encoder() -> nn.Module:
    sizes = {f"{part}_{what}": value for part in ("encoder", "decoder") for what, value in WHISPER.items()}
    return transformers_model("Whisper", d_model=32, num_mel_bins=20, max_source_positions=50, **sizes).get_submodule(
        "encoder"
    )


WHISPER = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}
TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 48, 64]}
HEADS = {"num_attention_heads": [1, 2, 4, 8]}
PADS, OUTPUT, ADD = "pads with zeros, and the shift", "is an output of the model", "add"

ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, list[str]]] = {
    "vit": (lambda: transformers_model("ViT", **TRANSFORMER, image_size=64), torch.randn(IMAGE), [OUTPUT]),
    "swin": (
        lambda: transformers_model(
            "Swin", embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, image_size=32, patch_size=2
        ),
        torch.randn(2, 3, 32, 32),
        [ADD, OUTPUT],
    ),
    "convnext": (lambda: transformers_model("ConvNext", **STAGES), torch.randn(IMAGE), [PADS, OUTPUT]),
    "mobilenet-v2": (lambda: transformers_model("MobileNetV2", depth_multiplier=0.25), torch.randn(IMAGE), []),
    "resnet": (lambda: transformers_model("ResNet", **STAGES, embedding_size=16), torch.randn(IMAGE), []),
    "efficientnet": (
        lambda: transformers_model("EfficientNet", width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320),
        torch.randn(IMAGE),
        [],
    ),
    "segformer": (
        lambda: transformers_model("Segformer", **STAGES, **HEADS),
        torch.randn(IMAGE),
        [ADD, PADS, ADD, PADS, ADD, PADS, ADD, OUTPUT],
    ),
    "pvt-v2": (
        lambda: transformers_model("PvtV2", **STAGES, **HEADS, image_size=64),
        torch.randn(IMAGE),
        [ADD, PADS, ADD, PADS, ADD, PADS, ADD, OUTPUT],
    ),
    "poolformer": (lambda: transformers_model("PoolFormer", **STAGES), torch.randn(IMAGE), ["avg_pool2d"] * 4),
    "bert": (
        lambda: transformers_model("Bert", **TRANSFORMER, vocab_size=100),
        torch.randint(0, 100, (2, 12)),
        [ADD] * 4 + [OUTPUT],
    ),
    "gpt2": (gpt2, torch.randint(0, 100, (2, 12)), ["also read by pow", "also read by pow", "shared with embedding"]),
    "whisper-encoder": (whisper_encoder, torch.randn(2, 20, 100), [OUTPUT]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture(name: str) -> None:
    build, x, expected = ARCHITECTURES[name]
    left, refused = assert_exact(to_program(randomized(build()), (x,)), x)
    assert not {"batch_norm", "clone", "_to_copy", "arange"} & set(left)
    assert len(refused) == len(expected), refused
    assert all(part in reason for part, reason in zip(expected, refused, strict=True)), refused
