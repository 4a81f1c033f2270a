"""Files that nothing can be made of: factories, samples, labels, configurations, ranges, files of other tools."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

FACTORIES = {
    "raises": "def make(): raise ValueError('no such width')",
    "missing_key": "def make(): return {}['width']",
    "divides": "def make(): return 1 / 0",
    "opens": "def make(): open('/absent/weights')",
    "ends": "def make(): raise BaseException('the end')",
    "imports": "import absent_package\ndef make(): pass",
    "exits": "import sys\ndef make(): sys.exit(3)",
    "exits_at_import": "import sys; sys.exit(0)",
    "broken": "def make(:",
    "pair": "def make(): return 1, 2",
    "table": "def make(): return {}",
    "nothing": "def make(): pass",
    "wants": "def make(width): pass",
    "other": "import torch\ndef make(): return torch.nn.Linear(4, 3)",
}
SAMPLES = {
    "texts.npz": np.array(["a", "b"]),
    "objects.npz": np.array([{}, 1], object),
    "times.npz": np.zeros((1, 4), "M8[s]"),
    "records.npz": np.zeros((1, 4), [("a", "f4")]),
    "longdouble.npz": np.zeros((1, 4), np.longdouble),
    "doubles.npz": np.zeros((1, 4)),
    "hollow.npz": np.zeros((0, 4), np.float32),
}

CONFIGS = {
    "texts.toml": "samples = 'many'",
    "parts.toml": "limits = 7",
    "reading.toml": "sample = 'x.npz'",
    "lists.toml": "threads = [1]",
    "booleans.toml": "samples = true",
    "no.toml": "baseline = 'no'",
    "model.toml": "model = 'model.pt2'",
    "steps.toml": "on_progress = 1",
    "target.toml": "target = 'absent'\noutput = 'elsewhere'",
    "table.toml": "[export]\nprecision = 'int8'",
    "deep.toml": "a = " + "[" * 100_000,
}
LABELS: dict[str, Any] = {
    "labels_pairs.npz": np.ones((3, 2), int),
    "labels_floats.npz": np.ones(3),
    "labels_texts.npz": np.array(list("abc")),
    "labels_short.npz": np.ones(2, int),
    "labels_number.npz": np.int64(3),
    "labels_negative.npz": np.array([0, 1, -1]),
    "labels_large.npz": np.array([0, 1, 2]),
}


def write_texts(path: Path) -> None:
    """Factories, configurations, functions of data and a recipe."""
    for name, text in FACTORIES.items():
        (path / f"arch_{name}.py").write_text(text)
    for name, text in CONFIGS.items():
        (path / name).write_text(text)
    (path / "items.py").write_text("def make(): return [1, 2]\ndef fails(): yield {}['width']")
    (path / "recipe.toml").write_text("passes")


def write_arrays(path: Path) -> None:
    """Samples and labels."""
    for name, array in SAMPLES.items():
        np.savez(path / name, x=array)
    np.savez(path / "none.npz")
    for name, labels in LABELS.items():
        np.savez(path / name, x=np.ones((3, 4), np.float32), labels=labels)
    np.save(path / "one.npy", np.ones((1, 4), np.float32))


def write_ranges(path: Path) -> None:
    """Calibrated ranges, none of which hold."""
    entry = {"op": "x", "low": 2, "high": 1, "observed_low": 0, "observed_high": 1, "how": "x"}
    facts = {"model": "", "data": "", "samples": 1, "method": "mse", "edgeopt": "0", "schema_version": 1}
    for name, tensors in (
        ("swapped", {"linear": entry}),
        ("huge", {"linear": {**entry, "low": 0, "high": 1e300}}),
        ("short", {"linear": {"low": 0, "high": 1}}),
        ("empty", {}),
    ):
        (path / f"{name}.json").write_text(json.dumps({**facts, "tensors": tensors}))


def write_oddities(path: Path) -> None:
    """Files of other tools, links in a loop, a pipe."""
    (path / "model.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    (path / "model.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3")
    (path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (path / "hugging").mkdir()
    (path / "hugging" / "config.json").write_text("{}")
    with (path / "plain.pkl").open("wb") as file:
        pickle.dump({"a": 1}, file)
    for name, other in (("loop", "pool"), ("pool", "loop")):
        (path / name).symlink_to(other)
    os.mkfifo(path / "pipe")
