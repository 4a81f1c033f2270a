"""What is read from files: for each kind, files that are whole, ways to damage them, and the reader."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

import edgeopt
from edgeopt.calib.calibrate import calibrate
from edgeopt.calib.data import open_data
from edgeopt.calib.ranges import read_ranges
from edgeopt.candidate.options import ExportOptions, split_options
from edgeopt.cli.options import read_config
from edgeopt.deploy.bundle import MANIFEST, REPORT, read_report, verify
from edgeopt.distill.loop import Loop, TuneOptions
from edgeopt.frontend.huggingface.folder import CONFIG
from edgeopt.frontend.inputs import InputSpec, load_sample
from edgeopt.frontend.load import LoadOptions, load
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.target import Target
from edgeopt.recipes.recipe import load_recipe, recipe_names
from edgeopt.report.render import html
from edgeopt.report.sections import sections
from edgeopt.search.store import Store
from tests.fuzz.mutations import BYTES, Mutation, damage_archive, damage_json, damage_text
from tests.models import folders

MODEL_BYTES = 2**26
"""Limit on the unpacked size of a model that the readers are given."""

X = (InputSpec("input", (1, 4)),)


@dataclass(frozen=True)
class Surface:
    """``seeds`` makes whole files, ``share`` is the part of all cases: readers that take long get fewer."""

    name: str
    share: float
    seeds: Callable[[], tuple[bytes, ...]]
    mutations: tuple[Mutation, ...]
    read: Callable[[Path], object]


def model() -> torch.nn.Module:
    """Return the network that all the files are of; factories of ``--arch`` name this function."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)).eval()


# -- models --------------------------------------------------------------------------------------------


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def _exported() -> tuple[bytes, ...]:
    fixed = torch.export.export(model(), (torch.zeros(1, 4),))
    dynamic = torch.export.export(model(), (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("n", max=9)},))
    return tuple(_saved(partial(torch.export.save, one)) for one in (fixed, dynamic))


def _torchscript() -> tuple[bytes, ...]:
    script = torch.jit.trace(model(), torch.zeros(1, 4))
    return (_saved(lambda stream: torch.jit.save(script, stream)),)


def _checkpoints() -> tuple[bytes, ...]:
    state = model().state_dict()
    contents = (state, {"state_dict": state}, model())
    ways = [(one, zipped) for one in contents for zipped in (True, False)]
    return tuple(_saved(partial(torch.save, one, _use_new_zipfile_serialization=zipped)) for one, zipped in ways)


def _read_torchscript(path: Path) -> object:
    return load(path, LoadOptions(inputs=X, max_archive_bytes=MODEL_BYTES))


def _read_model(path: Path) -> object:
    options = LoadOptions(inputs=X, arch="tests.fuzz.surfaces:model", max_archive_bytes=MODEL_BYTES)
    return load(path, options)


def _read_exported(path: Path) -> object:
    return load(path, LoadOptions(max_archive_bytes=MODEL_BYTES))


@cache
def _folder() -> dict[str, bytes]:
    """Return the files of a Hugging Face folder, by name."""
    with tempfile.TemporaryDirectory() as folder:
        return {file.name: file.read_bytes() for file in folders.save("bert", Path(folder, "bert")).iterdir()}


def _read_folder(path: Path) -> object:
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        for file, content in _folder().items():
            Path(name, file).write_bytes(path.read_bytes() if file == CONFIG else content)
        return load(Path(name), LoadOptions(max_archive_bytes=MODEL_BYTES))


# -- arrays --------------------------------------------------------------------------------------------


def _arrays() -> tuple[bytes, ...]:
    rows: dict[str, Any] = {"input": np.arange(12, dtype=np.float32).reshape(3, 4), "labels": np.array([0, 1, 0])}
    return tuple(_saved(partial(write, **rows)) for write in (np.savez, np.savez_compressed))


@cache
def _program() -> Any:
    return load(torch.export.export(model(), (torch.zeros(1, 4),))).program


def _read_data(path: Path) -> object:
    path = path.rename(path.with_suffix(".npz"))
    try:
        data = open_data(str(path), _program().inputs, trust=False)
        return [*data, data.labels(), data.digest()]
    finally:
        path.rename(path.with_suffix(""))


# -- what edgeopt writes -------------------------------------------------------------------------------


@cache
def _bundle() -> dict[str, bytes]:
    """Return the files of a bundle, by name."""
    with tempfile.TemporaryDirectory() as folder:
        exported = torch.export.export(model(), (torch.zeros(1, 4),))
        edgeopt.export(exported, "reference", f"{folder}/bundle", baseline=False, max_error=1e-3)
        return {path.name: path.read_bytes() for path in Path(folder, "bundle").iterdir()}


def _read_bundle(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return the reader of a bundle of which the file ``name`` is damaged."""

    def read_damaged(path: Path) -> object:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            for file, content in _bundle().items():
                Path(folder, file).write_bytes(path.read_bytes() if file == name else content)
            return read(Path(folder))

    return read_damaged


def _calibration() -> Path:
    folder = Path(tempfile.mkdtemp())
    np.savez(folder / "data.npz", input=np.arange(12, dtype=np.float32).reshape(3, 4))
    calibrate(_program(), open_data(str(folder / "data.npz"), _program().inputs, False), cache=folder)
    return folder


def _ranges() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in _calibration().glob("*.json"))


def _read_store(path: Path) -> object:
    store = Store(["a search that is damaged"])
    store.file.parent.mkdir(parents=True, exist_ok=True)
    store.file.write_bytes(path.read_bytes())
    try:
        store = Store(["a search that is damaged"])
        return store.recall("cost", lambda: 1.5, float), store.recall("sizes", lambda: [1], list[int])
    finally:
        store.file.unlink()


def _checkpoint_of_tuning() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        _tune(Path(folder, "tuning"))
        return (Path(folder, "tuning.blocks").read_bytes(),)


def _tune(checkpoint: Path) -> object:
    loop = Loop("blocks", {"weight": torch.ones(3)}, {})
    options = TuneOptions(steps=3, check_every=1, checkpoint=checkpoint)
    return loop.run(
        [1.0, 2.0], lambda p, x: (p["weight"] * x).square().sum(), lambda p: float(p["weight"].sum()), options
    )


def _read_tuning(path: Path) -> object:
    partial = path.rename(path.with_name("tuning.blocks"))
    try:
        return _tune(path.with_name("tuning"))
    finally:
        partial.rename(path)


def _recipes() -> tuple[bytes, ...]:
    folder = Path(edgeopt.__file__).parent / "recipes"
    return tuple((folder / f"{name}.toml").read_bytes() for name in recipe_names())


_OPTIONS = b"""precision = "fp32"
threads = 1
samples = 3
max-error = 0.001
skip-passes = ["fold-affine"]
baseline = false
seed = 4
"""


@cache
def _target() -> Target:
    """Return the target of the options: to find one, all that is installed is looked through."""
    target: Target = resolve("reference")
    return target


def _read_options(path: Path) -> object:
    return split_options(_target(), ExportOptions(), read_config(path))


SURFACES = (
    Surface("exported", 0.02, _exported, (*BYTES, damage_archive, damage_archive, damage_archive), _read_exported),
    Surface(
        "torchscript", 0.02, _torchscript, (*BYTES, damage_archive, damage_archive, damage_archive), _read_torchscript
    ),
    Surface("checkpoint", 0.05, _checkpoints, (*BYTES, damage_archive, damage_archive), _read_model),
    Surface("safetensors", 0.06, lambda: (save_safetensors(model().state_dict()),), BYTES, _read_model),
    Surface(
        "folder", 0.002, lambda: (_folder()[CONFIG],), (*BYTES, damage_json, damage_json, damage_json), _read_folder
    ),
    Surface("sample", 0.15, _arrays, (*BYTES, damage_archive), load_sample),
    Surface("data", 0.15, _arrays, (*BYTES, damage_archive), _read_data),
    Surface("ranges", 0.15, _ranges, (*BYTES, damage_json, damage_json), read_ranges),
    Surface(
        "manifest",
        0.06,
        lambda: (_bundle()[MANIFEST],),
        (*BYTES, damage_json, damage_json),
        _read_bundle(MANIFEST, verify),
    ),
    Surface(
        "report",
        0.06,
        lambda: (_bundle()[REPORT],),
        (*BYTES, damage_json, damage_json),
        _read_bundle(REPORT, lambda folder: html(sections(read_report(folder)))),
    ),
    Surface("options", 0.1, lambda: (_OPTIONS,), (*BYTES, damage_text, damage_text), _read_options),
    Surface("recipe", 0.1, _recipes, (*BYTES, damage_text, damage_text), lambda path: load_recipe(str(path))),
    Surface(
        "search",
        0.06,
        lambda: (json.dumps({"cost": 2.5, "sizes": [3, 4]}).encode(),),
        (*BYTES, damage_json),
        _read_store,
    ),
    Surface("tuning", 0.02, _checkpoint_of_tuning, (*BYTES, damage_archive), _read_tuning),
)
