"""Training checkpoints: what fits the architecture is taken by content, and told; what fits by halves is refused."""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeopt.errors import UserError
from edgeopt.frontend.inputs import InputSpec
from edgeopt.frontend.load import Loaded, LoadOptions, load

SPEC = (InputSpec.parse("x:1x4"),)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


State = dict[str, torch.Tensor]
Wrap = Callable[[State], Any]


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def other(state: State) -> State:
    return {name: tensor + 1 for name, tensor in state.items()}


def inside(state: State) -> State:
    return {name.replace("body.", "body._orig_mod."): tensor for name, tensor in state.items()}


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    module: Any = types.ModuleType("some_net")
    module.make = Net
    monkeypatch.setitem(sys.modules, "some_net", module)
    torch.manual_seed(0)
    return Net().eval()


def read(file: Path, content: Any, trust: bool = False, arch: str | None = "some_net:make") -> Loaded:
    torch.save(content, file)
    return load(file, LoadOptions(inputs=SPEC, arch=arch, trust=trust))


WRAPPED: dict[str, tuple[Wrap, str]] = {
    "state_dict": (lambda state: {"state_dict": state, "epoch": 3}, "entry 'state_dict'"),
    "model_state_dict": (
        lambda state: {"model_state_dict": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(6, 4)}}}},
        "entry 'model_state_dict'",
    ),
    "any name": (lambda state: {"weights_of_it": state, "step": torch.tensor(3)}, "entry 'weights_of_it'"),
    "nested": (lambda state: {"training": {"model": state}}, "entry 'training.model'"),
    "flat among numbers": (lambda state: {**state, "epoch": 3}, ""),
    "average first": (lambda state: {"state_dict": other(state), "model_ema": {"module": state}}, "'model_ema.module'"),
    "the same twice": (lambda state: {"model": state, "state_dict": dict(state)}, "entry 'model'"),
    "averaged model": (lambda state: {"n_averaged": torch.tensor(3), **prefixed("module.", state)}, "left out"),
    "data parallel": (lambda state: {"model": prefixed("module.", state)}, "prefix 'module.'"),
    "a part compiled": (inside, "torch.compile"),
    "of Lightning": (
        lambda state: {
            "pytorch-lightning_version": "2.5",
            "state_dict": {**prefixed("net.", state), "loss.weight": torch.ones(3)},
            "optimizer_states": [{"state": {}}],
            "hyper_parameters": {"lr": 0.1},
        },
        "prefix 'net.'",
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_fits_the_architecture_is_taken_and_told(tmp_path: Path, net: Net, name: str) -> None:
    wrap, told = WRAPPED[name]
    loaded = read(tmp_path / "training.pt", wrap(net.state_dict()))
    assert torch.equal(loaded.program.constants["head_weight"], net.head.weight)
    assert any(told in note for note in loaded.notes) or (told == "" and loaded.notes == ())


def test_safetensors_are_unwrapped_as_well(tmp_path: Path, net: Net) -> None:
    save_file(prefixed("model.", net.state_dict()), tmp_path / "state.safetensors")
    loaded = load(tmp_path / "state.safetensors", LoadOptions(inputs=SPEC, arch="some_net:make"))
    assert torch.equal(loaded.program.constants["head_weight"], net.head.weight)
    assert "prefix 'model.'" in loaded.notes[0]


@pytest.mark.parametrize(
    ("dtype", "how"), [(torch.bfloat16, "exactly"), (torch.float16, "exactly"), (torch.float64, "rounds")]
)
def test_the_architectures_type_holds_the_weights(tmp_path: Path, net: Net, dtype: torch.dtype, how: str) -> None:
    loaded = read(tmp_path / "half.pt", {"model": Net().to(dtype).state_dict() | net.to(dtype).state_dict()})
    assert torch.equal(loaded.program.constants["head_weight"], net.head.weight.float())
    assert how in loaded.notes[-1]


REFUSED: dict[str, tuple[Wrap, str]] = {
    "a tensor missing": (
        lambda state: {"model": {name: value for name, value in state.items() if name != "head.bias"}},
        r"entry 'model'\) does not fit .*lack 1 tensor \('head.bias'",
    ),
    "a tensor left over": (lambda state: {**state, "head.scale": torch.ones(3)}, r"lacks 1 tensor \('head.scale'"),
    "renamed": (
        lambda state: {name.replace("head", "heads"): value for name, value in state.items()},
        r"'head.bias' \(nearest: 'heads.bias'\)",
    ),
    "other sizes": (lambda state: {**state, "head.bias": torch.ones(4)}, r"'head.bias' is \(4,\), not \(3,\)"),
    "of another model": (lambda state: {"state_dict": {"conv.weight": torch.ones(3)}}, "does not fit"),
    "two that fit": (lambda state: {"best": state, "last": other(state)}, "several state dicts fit .*'best.*'last"),
    "student and teacher": (
        lambda state: {**prefixed("student.", state), **prefixed("teacher.", other(state))},
        "several state dicts fit .*'student.*'teacher",
    ),
    "nothing": (lambda state: {"epoch": 3}, r"holds a dict of epoch \(int\), not a model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_fits_by_halves_is_refused(tmp_path: Path, net: Net, name: str) -> None:
    wrap, fact = REFUSED[name]
    with pytest.raises(UserError, match=fact):
        read(tmp_path / "training.pt", wrap(net.state_dict()))


def test_without_an_architecture_the_entries_are_told(tmp_path: Path, net: Net) -> None:
    with pytest.raises(UserError, match=r"holds model \(9 tensors\) and no architecture") as caught:
        read(tmp_path / "training.pt", {"model": net.state_dict()}, arch=None)
    assert "--arch" in str(caught.value.hint)


def test_a_module_is_taken_when_trusted_the_average_before_others(tmp_path: Path, net: Net) -> None:
    content = {"model": Net().half(), "ema": net.half(), "train_args": argparse.Namespace(lr=1)}
    with pytest.raises(UserError, match="is a pickle"):
        read(tmp_path / "yolo.pt", content, arch=None)
    loaded = read(tmp_path / "yolo.pt", content, trust=True, arch=None)
    assert torch.equal(loaded.program.constants["head_weight"], net.head.weight.float())
    assert "entry 'ema' (Net)" in loaded.notes[0] and "float16" in loaded.notes[1]
    loaded = read(tmp_path / "yolo.pt", {"model": net, "ema": None}, trust=True)
    assert any("'model.state_dict()'" in note for note in loaded.notes), "an architecture of the user's goes first"


def test_several_modules_are_not_guessed_among(tmp_path: Path, net: Net) -> None:
    with pytest.raises(UserError, match=r"several modules.*generator, critic"):
        read(tmp_path / "gan.pt", {"generator": net, "critic": Net()}, trust=True, arch=None)


def test_a_package_that_a_pickle_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("ultra_models")
    module.Detector = type("Detector", (nn.Linear,), {"__module__": "ultra_models"})
    monkeypatch.setitem(sys.modules, "ultra_models", module)
    torch.save({"model": module.Detector(2, 2)}, tmp_path / "yolo.pt")
    monkeypatch.delitem(sys.modules, "ultra_models")
    with pytest.raises(UserError, match="ultra_models") as caught:
        load(tmp_path / "yolo.pt", LoadOptions(inputs=SPEC, trust=True))
    assert "install what defines the class" in str(caught.value.hint)
