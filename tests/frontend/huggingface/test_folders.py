"""Folders of Hugging Face: each kind of model gives what transformers gives; what is not whole or safe is refused."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import edgeopt
from edgeopt.errors import ToolchainMissing, UserError
from edgeopt.frontend.archive import Format
from edgeopt.frontend.huggingface.architecture import configuration
from edgeopt.frontend.huggingface.folder import Folder
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.load import LoadOptions, load

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.models import folders

BY_DAY = ("bert", "t5", "vit", "wav2vec2")
"""Of the kinds, what is tried on every run; the others by night."""
OUTPUTS = {
    "bert": ("logits",),
    "roberta": ("last_hidden_state", "pooler_output"),
    "llama": ("logits",),
    "t5": ("last_hidden_state",),
    "bart": ("last_hidden_state",),
    "vit": ("logits",),
    "resnet": ("logits",),
    "yolos": ("logits", "pred_boxes", "last_hidden_state"),
    "detr": ("logits", "pred_boxes", "last_hidden_state", "encoder_last_hidden_state"),
    "segformer": ("logits",),
    "ast": ("logits",),
    "wav2vec2": ("logits",),
    "whisper": ("last_hidden_state",),
    "clip": ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds"),
}
TOLERANCE = 1e-5
WEIGHTS = "model.safetensors"

Save = Callable[..., Path]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Return a function from a kind to its folder, written once."""
    root = tmp_path_factory.mktemp("folders")
    return lambda kind: root / kind if (root / kind).exists() else folders.save(kind, root / kind)


@pytest.fixture
def bert(saved: Save, tmp_path: Path) -> Path:
    """A folder of one's own to change."""
    return Path(shutil.copytree(saved("bert"), tmp_path / "bert"))


def kinds() -> list[Any]:
    return [
        pytest.param(kind, marks=[] if kind in BY_DAY else [pytest.mark.nightly, pytest.mark.timeout(600)])
        for kind in folders.KINDS
    ]


def eager(folder: Path) -> Any:
    """The model as transformers loads it by itself, and of a model with a decoder the encoder."""
    import transformers

    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder, local_files_only=True).eval()
    return model.get_encoder() if folder.name in ("t5", "bart", "whisper") else model


@pytest.mark.parametrize("kind", kinds())
def test_a_kind_of_model_gives_what_transformers_gives(saved: Save, kind: str) -> None:
    folder = saved(kind)
    loaded = load(folder)
    program, model = loaded.program, eager(folder)
    assert loaded.format is Format.HUGGING_FACE and loaded.sha256 and loaded.source == kind
    assert program.output_names[: len(OUTPUTS[kind])] == OUTPUTS[kind]
    assert program.inputs[0].shape[0] not in (1, 2), "the batch varies"
    generator = np.random.default_rng(1)
    for batch, cut in ((1, 0), (3, 5)):
        sample = {name: other_values(array, batch, cut, generator) for name, array in loaded.example.items()}
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(array) for name, array in sample.items()})
        outputs = program.run(sample)
        for name in OUTPUTS[kind]:
            scale = float(expected[name].abs().max())
            assert np.abs(outputs[name] - expected[name].numpy()).max() <= TOLERANCE * scale, (name, batch)


def other_values(array: np.ndarray, batch: int, cut: int, generator: np.random.Generator) -> np.ndarray:
    """Other numbers of the same kind; what has a length of its own is made shorter."""
    shape = [batch, *array.shape[1:]]
    if array.ndim == 2:
        shape[1] -= cut
    if array.dtype.kind == "f":
        return generator.standard_normal(shape).astype(np.float32)
    if array.max() > 1:
        return generator.integers(0, 50, shape)
    mask = np.full(shape, array.max())
    mask[-1, 3:] = 0  # padding
    return mask


def test_nothing_of_transformers_is_loaded_by_what_needs_it_not() -> None:
    code = "import sys; import edgeopt.frontend.load; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_transformers_the_line_that_installs_it_is_told(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeopt.frontend.huggingface.library.installed", lambda: None)
    with pytest.raises(ToolchainMissing) as caught:
        load(bert)
    assert caught.value.install == "pip install 'edgeopt[hf]'"


def test_the_network_is_not_touched(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert load(bert, LoadOptions(fixed=True)).program.inputs


def test_shapes_are_the_users_where_he_says_them(bert: Path) -> None:
    ids = InputSpec.parse("input_ids:2x7:int64")
    loaded = load(bert, LoadOptions(inputs=(ids,), dynamic=(DynamicSpec.parse("input_ids:0=1..4"),), fixed=True))
    batches = {str(spec.shape[0]) for spec in loaded.program.inputs}
    assert len(batches) == 1 and not batches.pop().isdigit(), "one batch, which varies"
    assert [spec.shape[1] for spec in loaded.program.inputs] == [7, 7, 7]
    assert loaded.example["attention_mask"].shape == (2, 7)
    assert any("input_ids:2x7" in note for note in loaded.notes)


def test_a_task_takes_another_class_or_the_model_without_its_head(bert: Path) -> None:
    (bert / "tokenizer.json").write_text("{}")
    loaded = load(bert, LoadOptions(task="feature-extraction", fixed=True))
    assert loaded.program.output_names == ("last_hidden_state", "pooler_output")
    assert [file.name for file in loaded.companions] == ["config.json", "tokenizer.json"]
    with pytest.raises(UserError, match=r"lack \d+ tensors \('cls"):  # no head was trained for it
        load(bert, LoadOptions(task="fill-mask"))
    with pytest.raises(UserError, match="have no task 'image-classification'") as caught:
        load(bert, LoadOptions(task="image-classification"))
    assert "text-classification" in str(caught.value.hint)
    with pytest.raises(UserError, match="task 'fill-maks' is not known") as caught:
        load(bert, LoadOptions(task="fill-maks"))
    assert "fill-mask" in str(caught.value.hint)


def test_half_precision_is_held_in_float32_and_told(bert: Path) -> None:
    state = {name: tensor.bfloat16() for name, tensor in load_file(bert / WEIGHTS).items()}
    save_file(state, bert / WEIGHTS, {"format": "pt"})
    loaded = load(bert, LoadOptions(fixed=True))
    assert any("stored in bfloat16 are held in float32, which holds their values exactly" in n for n in loaded.notes)
    stored = state["classifier.weight"].float()
    assert any(torch.equal(tensor, stored) for tensor in loaded.program.constants.values())


def test_weights_of_a_part_that_the_model_lacks_are_left_out_and_told(bert: Path) -> None:
    state = load_file(bert / WEIGHTS) | {"cls.seq_relationship.weight": torch.ones(2, 16)}
    save_file(state, bert / WEIGHTS, {"format": "pt"})
    assert any("cls.seq_relationship" in note for note in load(bert, LoadOptions(fixed=True)).notes)


def edited(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def sharded(folder: Path, file: str) -> None:
    names = dict.fromkeys(load_file(folder / WEIGHTS), file)
    (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": names}))


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def linked(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
    (folder / WEIGHTS).symlink_to(folder.parent / "outside.safetensors")


def cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "holds no weights", WEIGHTS),
    "weights cut": (cut, "truncated or damaged", "again"),
    "weights are a pickle": (pickled, "are a pickle", "--trust"),
    "a shard outside": (lambda f: sharded(f, "../outside.safetensors"), "lies outside", "do not use"),
    "a link outside": (linked, "lies outside", "do not use"),
    "no such shard": (lambda f: sharded(f, "one.safetensors"), "lacks the file 'one.safetensors'", "again"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "truncated or damaged", "again"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "holds no JSON object", "again"),
    "unknown type": (lambda f: edited(f, model_type="bertt"), "'bertt' is not known", "did you mean bert"),
    "no type": (lambda f: edited(f, model_type=None), "names no model_type", "save_pretrained"),
    "no architecture": (lambda f: edited(f, architectures=None), "names no task", "text-classification"),
    "not a model": (lambda f: edited(f, architectures=["Trainer"]), "'Trainer'", "--task"),
    "own code": (lambda f: edited(f, auto_map={"AutoModel": "m.M"}), "brings code of its own", "--trust"),
    "quantized": (lambda f: edited(f, quantization_config={"quant_method": "gptq"}), "by 'gptq'", "before"),
    "more layers": (lambda f: edited(f, num_hidden_layers=2), r"lack 16 tensors .*layer\.1", "configuration"),
    "no layers": (lambda f: edited(f, num_hidden_layers=0), r"lacks 16 tensors .*layer\.0", "configuration"),
    "other sizes": (lambda f: edited(f, intermediate_size=8), r"is \(32, 16\), not \(8, 16\)", "configuration"),
    "other model": (lambda f: edited(f, model_type="vit", architectures=["ViTModel"]), "lack", "configuration"),
    "sizes of another kind": (lambda f: edited(f, hidden_size="x"), "config", "transformers"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_not_whole_or_not_safe_is_refused(bert: Path, name: str) -> None:
    change, fact, remedy = DAMAGES[name]
    change(bert)
    with pytest.raises(UserError, match=fact) as caught:
        load(bert, LoadOptions(fixed=True))
    assert remedy in str(caught.value.hint), caught.value.hint


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
def test_kernels_that_a_configuration_names_are_not_fetched(bert: Path, name: str) -> None:
    named = {name: "somebody/kernels", "experts_implementation": "somebody/kernels"}
    edited(bert, **named, text_config=named)
    content = configuration(transformers, Folder(bert)).to_dict()
    assert "somebody/kernels" not in str(content)


def test_pickled_weights_are_taken_when_trusted(bert: Path) -> None:
    pickled(bert)
    assert load(bert, LoadOptions(trust=True, fixed=True)).program.output_names == ("logits",)


def test_a_snapshot_of_the_hubs_cache_is_read_through_its_links(bert: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a" / "snapshots" / "0a", tmp_path / "models--a" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in bert.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert load(snapshot, LoadOptions(fixed=True)).source == "0a"


def test_a_task_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="--task is given"):
        load(tmp_path / "state.pt", LoadOptions(task="fill-mask"))
    with pytest.raises(UserError, match=r"without config\.json"):
        load(tmp_path)


@pytest.mark.slow
def test_a_folder_becomes_a_bundle_with_its_processor(saved: Save, tmp_path: Path) -> None:
    run = edgeopt.export(saved("resnet"), "onnx", tmp_path / "build", max_seconds=0.1)
    assert run.ok and run.model.format == "Hugging Face folder"
    assert any("read as a ResNetForImageClassification" in warning for warning in run.warnings)
    listed = {entry["path"] for entry in json.loads((tmp_path / "build" / "manifest.json").read_text())["files"]}
    assert {"processor/config.json", "processor/preprocessor_config.json"} <= listed


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", folders.KINDS)
@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_bundles_hold_what_the_models_say(saved: Save, tmp_path: Path, kind: str, target: str) -> None:
    run = edgeopt.export(saved(kind), target, tmp_path / "build", max_seconds=0.1)
    assert run.ok, run.limits
    assert run.model.outputs and run.model.inputs


@pytest.mark.nightly
@pytest.mark.slow
def test_minilm_as_a_folder(tmp_path: Path) -> None:
    from tests.models import minilm

    _, path = minilm.source()
    run = edgeopt.export(path, "openvino", tmp_path / "build", max_seconds=0.1)
    assert run.ok
    assert {"tokenizer.json", "vocab.txt"} <= {file.name for file in (tmp_path / "build" / "processor").iterdir()}
    assert [one.split(":")[0] for one in run.model.outputs] == ["last_hidden_state", "pooler_output"]
