"""What is won and lost where norms and attention are replaced: recipes ``slab`` and ``linear``, measured.

    python -m benchmarks.substitution [--part digits|tokens|minilm] [--quick] [--json] [--output docs/images]

``digits``  a ViT of 196 tokens on handwritten digits, trained here, recipe slab with its five minutes of tuning
``tokens``  the same model with 784 tokens and random weights: latency against OpenVINO's best
``minilm``  all-MiniLM-L6-v2, recipe linear with its half hour, on docstrings of the standard library

About an hour and a quarter on two cores, nearly all of it training; ``--quick`` takes budgets of a few steps, some
minutes, and checks that everything runs. ``--output`` writes the plot of the errors of every swap.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Unpack

import click
import numpy as np
import torch

import edgeopt
from benchmarks import openvino_int8
from benchmarks.docstrings import docstrings
from benchmarks.table import show
from edgeopt.deploy.bundle import open_bundle
from edgeopt.deploy.overrides import Overrides
from edgeopt.plugins.target import Session
from edgeopt.records.run import Run
from edgeopt.records.swaps import SwappedLayer
from samples import digits_vit_196
from tests.models import minilm
from tests.typed import savez

Arrays = dict[str, np.ndarray]
Row = dict[str, Any]

PARTS = ("digits", "tokens", "minilm")
LENGTHS = (256, 512)
TEST_TEXTS = 48
"""Held-out texts of each length on which neighbors are looked for."""
MIN_COSINE = 0.98
HEDGEHOG = """
[[passes]]
name = "linear-attention"
feature-map = "hedgehog-joint-softmax"
features = 128

[tune]
rate = 0.01
check-every = 50
model = false
"""
"""Linear attention alone, and only its blocks tuned: what the recipe's window and second stage add."""


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this; repeatable.")
@click.option("--quick", is_flag=True, help="Small budgets: that it runs, not how well.")
@click.option("--model", type=click.Path(path_type=Path), help="Folder of a trained digits_vit_196.")
@click.option("--tune", help="Budget of tuning instead of the recipes' own, as edgeopt export takes it.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write the plot into.")
def main(
    parts: tuple[str, ...], quick: bool, model: Path | None, tune: str | None, as_json: bool, output: Path | None
) -> None:
    """Measure what replacing norms and attention wins and loses."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    budget = tune or ("20" if quick else None)
    swapped: dict[str, Sequence[SwappedLayer]] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if "digits" in (parts or PARTS):
            row, swapped["ViT, 196 tokens: slab"] = digits(scratch, model, budget, quick)
            show([row], as_json)
        if "tokens" in (parts or PARTS):
            show(tokens(scratch, 2.0 if quick else 20.0), as_json)
        if "minilm" in (parts or PARTS):
            rows, blocks, swapped["MiniLM: linear"] = sentences(scratch, budget, quick)
            show(rows, as_json)
            show(blocks, as_json)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        draw(swapped, output / "substitution.png")


# -- digits --------------------------------------------------------------------------------------------


def digits(scratch: Path, folder: Path | None, tune: str | None, quick: bool) -> tuple[Row, Sequence[SwappedLayer]]:
    """Train, export with recipe slab, and return accuracy, agreement, error and latency."""
    if folder is None:
        folder = scratch / "digits"
        click.echo("training the ViT", err=True)
        digits_vit_196.main(folder, epochs=2 if quick else 100)
    data = np.load(folder / "eval.npz")
    bundle = scratch / "slab"
    options: Overrides = {"tune_data": str(folder / "tune.npz"), "data": str(folder / "eval.npz"), "tune": tune}
    run = _export(folder / "model.pt2", bundle, **options | {"recipe": "slab"})
    original = edgeopt.export(str(folder / "model.pt2"), "openvino", scratch / "original", baseline=False)
    outputs = [_outputs(path, data["images"]) for path in (scratch / "original", bundle)]
    assert run.accuracy is not None and run.swaps is not None and run.baseline is not None
    row = {
        "model": "ViT on digits, 196 tokens",
        "accuracy": run.accuracy.original,
        "accuracy, slab": run.accuracy.exported,
        "agreement": run.accuracy.agreement,
        "relative error": float(np.linalg.norm(outputs[1] - outputs[0]) / np.linalg.norm(outputs[0])),
        "swaps": f"{sum(not layer.kept for layer in run.swaps.layers)} of {len(run.swaps.layers)}",
        "norms and softmaxes left": _left(run),
        "ms before": original.latency.median if original.latency else None,
        "speed-up, fp32": run.baseline.speedup,
    }
    return row, run.swaps.layers


def _export(model: Any, output: Path, **options: Unpack[Overrides]) -> Run:
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return edgeopt.export(
        model if isinstance(model, torch.export.ExportedProgram) else str(model),
        "openvino",
        output,
        on_progress=lambda step: click.echo(step, err=True) if "tuning" in step or "recipe" in step else None,
        **given,
    )


def _outputs(bundle: Path, images: np.ndarray) -> np.ndarray:
    with closing(open_bundle(bundle)) as session:
        return np.concatenate([next(iter(session.run({"images": image[None]}).values())) for image in images])


def _left(run: Run) -> int:
    """Return how many executed layers are norms or softmaxes, over tokens or channels."""
    types = [layer.type for layer in run.latency.layers] if run.latency else []
    return sum(kind in ("MVN", "RMSNorm", "Softmax", "SoftMax", "ScaledDotProductAttention") for kind in types)


# -- 784 tokens ----------------------------------------------------------------------------------------


def tokens(scratch: Path, seconds: float) -> list[Row]:
    """Return latencies of the model with 784 tokens: the original at OpenVINO's best, and recipe slab."""
    torch.manual_seed(0)
    model = digits_vit_196.build(patch=1).eval()
    images = torch.rand(openvino_int8.SAMPLES, 1, digits_vit_196.SIDE, digits_vit_196.SIDE).numpy()
    case = openvino_int8.Case(model, {"images": images}, is_transformer=True)
    folder = scratch / "tokens"
    folder.mkdir()
    savez(folder / "images.npz", case.samples)
    exported = torch.export.export(model, (), {"images": torch.from_numpy(images[:1])})
    runs: dict[str, Callable[[Arrays], object]] = {}
    for name, recipe in (("original", None), ("slab", "slab")):
        for precision in ("fp32", "bf16", "int8"):
            click.echo(f"784 tokens: {name}, {precision}", err=True)
            runs[f"{name}, {precision}"] = _session(exported, folder, recipe, precision).run
    nncf = openvino_int8.compile_models(openvino_int8.nncf_models(case, folder))
    medians = openvino_int8.alternate(runs | openvino_int8.inferences(nncf), {"images": images[:1]}, seconds)
    best = min(ms for name, ms in medians.items() if not name.startswith("slab"))
    return [{"784 tokens, 1 thread": name, "ms": ms, "OpenVINO's best is": best / ms} for name, ms in medians.items()]


def _session(exported: Any, folder: Path, recipe: str | None, precision: str) -> Session:
    bundle = folder / f"{recipe}-{precision}"
    images = str(folder / "images.npz")
    options: Overrides = {"precision": precision, "baseline": False, "max_seconds": 0.1}
    if recipe:
        options |= {"recipe": recipe, "tune": "1", "tune_data": images}
    if precision == "int8":
        options["calib"] = images
    edgeopt.export(exported, "openvino", bundle, **options)
    return open_bundle(bundle)


# -- sentences -----------------------------------------------------------------------------------------


def sentences(scratch: Path, tune: str | None, quick: bool) -> tuple[list[Row], list[Row], Sequence[SwappedLayer]]:
    """Export MiniLM with recipe linear; return cosines, agreement of neighbors and latency at both lengths, and the
    blocks' errors on the original's inputs."""
    tests = _write_texts(scratch, 6 if quick else None)
    ones = torch.ones(1, LENGTHS[0], dtype=torch.long)
    length = {1: torch.export.Dim("tokens", min=64, max=LENGTHS[-1])}
    # Three tensors: one that is given twice would be traced as one input.
    inputs = (ones, ones.clone(), 0 * ones)
    exported = torch.export.export(minilm.build(), inputs, dynamic_shapes=(length, length, length))
    (scratch / "hedgehog.toml").write_text(HEDGEHOG, "utf-8")
    # The second export goes on from what the first one tuned: all of its own budget is the gate's.
    options: Overrides = {"tune_data": str(scratch / "texts"), "tune": tune, "force": True, "baseline": False}
    linear: Overrides = {**options, "recipe": "linear", "checkpoint": str(scratch / "state")}
    hedgehog: Overrides = {**options, "recipe": str(scratch / "hedgehog.toml"), "tune": tune or "10min"}
    cases: dict[str, tuple[str, Overrides]] = {
        "all six swapped": ("all", linear),
        f"limit: cosine {MIN_COSINE}": ("held", {**linear, "min_cosine": MIN_COSINE}),
        "Hedgehog, blocks alone": ("hedgehog", hedgehog),
    }
    edgeopt.export(exported, "openvino", scratch / "plain", baseline=False, max_seconds=0.1)
    rows, found = [], {}
    for name, (folder, given) in cases.items():
        spent = time.process_time()
        run = _export(exported, scratch / folder, **given)
        spent = time.process_time() - spent
        assert run.swaps is not None
        found[folder] = layers = run.swaps.layers
        stages = run.swaps.stages
        facts = {
            "MiniLM": name,
            "swapped": f"{sum(not layer.kept for layer in layers)} of {len(layers)}",
            "steps": " + ".join(str(stage.steps) for stage in stages),
            "CPU min": spent / 60,
            "block error": stages[0].after,
        }
        rows += [{**facts, "tokens": count, **_compared(scratch, folder, texts)} for count, texts in tests.items()]
        for row in rows[-len(tests) :]:
            click.echo(row, err=True)
    return rows, _layers(found["all"], found["hedgehog"]), found["all"]


def _layers(hybrid: Sequence[SwappedLayer], hedgehog: Sequence[SwappedLayer]) -> list[Row]:
    return [
        {
            "MiniLM": _short(one),
            "hybrid, untuned": one.before,
            "hybrid, both stages": one.after,
            "Hedgehog, untuned": other.before,
            "Hedgehog, blocks alone": other.after,
        }
        for one, other in zip(hybrid, hedgehog, strict=True)
    ]


def _write_texts(scratch: Path, most: int | None) -> dict[int, list[Arrays]]:
    """Write texts to tune on, shards of each length, and return others to test on; no text is in both."""
    folder = scratch / "texts"
    folder.mkdir()
    pieces = _cut(docstrings())
    tests: dict[int, list[Arrays]] = {}
    for length in LENGTHS:
        tests[length] = [next(pieces[length]) for _ in range(most or TEST_TEXTS)]
        tuning = [sample for _, sample in zip(range(most * 2 if most else 10**6), pieces[length], strict=False)]
        savez(folder / f"{length}.npz", {k: np.concatenate([s[k] for s in tuning]) for k in tuning[0]})
    return tests


def _cut(texts: Sequence[str]) -> dict[int, Iterator[Arrays]]:
    """Return the model's inputs cut from the texts, one after another, half of the texts for each length."""
    half = len(texts) // 2
    return {length: _pieces(part, length) for length, part in zip(LENGTHS, (texts[:half], texts[half:]), strict=True)}


def _pieces(texts: Sequence[str], length: int) -> Iterator[Arrays]:
    first, *_, last = (int(i) for i in minilm.tokens(["a"])["input_ids"][0])
    ids: list[int] = []
    for text in texts:
        ids += [int(i) for i in minilm.tokens([text])["input_ids"][0][1:-1]]
        while len(ids) >= length - 2:
            row = np.array([[first, *ids[: length - 2], last]])
            yield {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
            ids = ids[length - 2 :]


def _compared(scratch: Path, folder: str, texts: Sequence[Arrays]) -> Row:
    """Return the mean cosine with the original's embeddings, the share of equal neighbors, and the latencies."""
    sessions = {name: open_bundle(scratch / name) for name in ("plain", folder)}
    found = {name: np.concatenate([next(iter(s.run(t).values())) for t in texts]) for name, s in sessions.items()}
    before, after = found["plain"], found[folder]
    medians = openvino_int8.alternate({name: session.run for name, session in sessions.items()}, texts[0], 5.0)
    for session in sessions.values():
        session.close()
    return {
        "mean cosine": float((before * after).sum(1).mean()),
        "equal neighbors": float(np.mean(_neighbors(before) == _neighbors(after))),
        "ms before": medians["plain"],
        "ms after": medians[folder],
    }


def _neighbors(embeddings: np.ndarray) -> np.ndarray:
    cosines = embeddings @ embeddings.T
    np.fill_diagonal(cosines, -1)
    found: np.ndarray = cosines.argmax(1)
    return found


# -- the plot ------------------------------------------------------------------------------------------


def draw(swapped: dict[str, Sequence[SwappedLayer]], path: Path) -> None:
    """Plot the relative error of every swap on the original's inputs, before and after tuning."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2 * len(swapped)), layout="constrained")
    for index, (title, layers) in enumerate(swapped.items()):
        axes = figure.add_subplot(len(swapped), 1, index + 1)
        places = np.arange(len(layers))
        axes.bar(places - 0.2, [layer.before for layer in layers], 0.4, label="untuned", color="#b8c4d6")
        axes.bar(places + 0.2, [layer.after for layer in layers], 0.4, label="tuned", color="#2f5d8c")
        axes.set_xticks(places, [_short(layer) for layer in layers], rotation=30, ha="right", fontsize=8)
        axes.set_ylabel("relative error")
        axes.set_title(title)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _short(layer: SwappedLayer) -> str:
    number = layer.layer.rpartition("_")[2]
    kind = "norm" if layer.by == "replace-layernorm" else "attention"
    return f"{kind} {number if number.isdigit() else 0}"


if __name__ == "__main__":
    main()
