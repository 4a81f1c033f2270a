"""Every layer's cost is its own: measured on the runtime's layer that computes it, or not told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.ir.program import Program, first_origin
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.quant.scheme import WEIGHTED
from edgeopt.records.layers import Layer
from edgeopt.records.run import Run
from edgeopt.records.search import LayerFormat
from edgeopt.search.costs import Profile, Sizes, attributed, owners, profile
from edgeopt.search.estimates import Estimates
from edgeopt.targets.openvino.session import OpenVinoSession
from samples.digits_cnn import DigitsCnn
from tests.typed import some

TARGETS = ("onnx", "openvino")


class Cut(Exception):
    pass


QUICK: dict[str, Any] = {"baseline": False, "max_seconds": 0.05}


def export(folder: Path, target: str, **options: Any) -> Run:
    """Choose formats for the digits CNN, untrained, under a limit that int8 holds."""
    torch.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((20, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "calib.npz", images=images)
    given: dict[str, Any] = {
        "precision": "auto",
        "baseline": False,
        "max_seconds": 0.05,
        "calib": str(folder / "calib.npz"),
    }
    given |= {"format": ("fp32", "int8"), "max_error": 0.5, **options}
    return edgeopt.export(DigitsCnn().eval(), target, folder / target, inputs={"images": images[:1]}, **given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A folder with the cache in it."""
    folder = tmp_path_factory.mktemp("costs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.mark.parametrize("target", TARGETS)
def test_every_layer_of_the_digits_cnn_has_a_cost_of_its_own(
    folder: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Profile] = []

    def keep(*given: Any) -> Profile:
        measured.append(profile(*given))
        return measured[-1]

    def cut(step: str) -> None:
        if "trying" in step:
            raise Cut

    monkeypatch.setattr("edgeopt.search.estimates.profile", keep)
    with pytest.raises(Cut):
        export(folder, target, on_progress=cut)
    assert len(measured) == 2  # all in fp32, and all in int8
    for one in measured:
        assert sorted(layer.partition("_")[0] for layer in one.layers) == ["conv2d"] * 3 + ["linear"]
        assert all(cost > 0 for cost in one.layers.values()) and sum(one.layers.values()) <= one.total


@pytest.mark.slow
def test_a_layer_chosen_int8_that_runs_in_float_is_a_fallback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = OpenVinoSession.layers

    def in_float(session: OpenVinoSession, inputs: dict[str, np.ndarray], runs: int) -> tuple[Layer, ...]:
        return tuple(Layer(one.name, one.type, "fp32", one.median) for one in told(session, inputs, runs))

    honest = export(folder, "openvino")
    chosen = [layer for layer in some(honest.search).layers if layer.format == "int8"]
    assert chosen and not honest.fallbacks
    monkeypatch.setattr(OpenVinoSession, "layers", in_float)
    run = export(folder, "openvino")
    assert len(run.fallbacks) == len(chosen)
    assert all("fp32, int8 was asked for" in fallback.reason for fallback in run.fallbacks)


# -- which layer is whose --------------------------------------------------------------------------------


class Uneven(nn.Module):
    """Of three convolutions the last does nearly all; folding the other two renames them alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)) for _ in range(2))
        self.third, self.last = nn.Conv2d(1, 1, 63, padding=31), nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.third(torch.relu(self.second(torch.relu(self.first(x)))))))


def sizes(program: Program) -> dict[str, Sizes]:
    return {node.name: Sizes(first_origin(node), 1, 1) for node in program.calls if node.target in WEIGHTED}


@pytest.mark.parametrize("name", TARGETS)
def test_the_cost_of_the_heavy_convolution_is_that_layers(name: str, tmp_path: Path) -> None:
    plain = to_program(Uneven().eval(), (torch.zeros(1, 1, 64, 64),))
    program, _ = Pipeline([step.build() for step in PACKED]).run(plain)
    target = resolve(name)
    target.compile(program, tmp_path, target.Options())
    session = target.open(tmp_path, target.Options())
    layers = sizes(program)
    costs = attributed(session.layers({"x": np.ones((1, 1, 64, 64), np.float32)}, 3), owners(program, layers))
    _, _, third, _ = layers
    assert third in ("conv2d_2", "conv2d_3") and costs.keys() == layers.keys()
    # It has 3969 times the multiply-accumulates of any other.
    assert max(costs, key=lambda layer: costs[layer]) == third


def test_what_is_fused_is_shared_and_what_prepares_weights_counts() -> None:
    owner = {"conv2d_3": "a", "linear": "b", "dequantize": "b"}
    ran = (
        Layer("conv2d_3,relu", "Conv", "fp32", 4.0),
        Layer("linear/MatMul_0,conv2d_3", "Fused", "fp32", 2.0),
        Layer("dequantize", "DequantizeLinear", "fp32", 0.5),
        Layer("conv2d", "Conv", "fp32", 9.0),  # of no layer that is known
    )
    assert attributed(ran, owner) == {"a": 5.0, "b": 1.5}


def test_a_layer_that_the_runtime_does_not_show_has_no_cost_but_an_estimate() -> None:
    class Two:
        """What the estimates ask of a configuration."""

        formats = ("fp32",)
        layers = dict.fromkeys(("shown", "hidden"), ("fp32",))

        def operator(self, layer: str) -> str:
            return "aten.linear"

    known = {"shown": Sizes("shown", 30, 1), "hidden": Sizes("hidden", 10, 1)}
    estimates = Estimates(Two(), known, None)  # type: ignore[arg-type]
    estimates.noise = {layer: {"fp32": 0.0} for layer in known}
    estimates.profiles = {"fp32": Profile(100, 8.0, {"shown": 7.0})}
    told = estimates.of_layers(dict.fromkeys(known, "fp32"))
    assert told == (
        LayerFormat("shown", "aten.linear", "fp32", {"fp32": 0.0}, {"fp32": 7.0}),
        LayerFormat("hidden", "aten.linear", "fp32", {"fp32": 0.0}, {"fp32": None}),
    )
    assert [choice.cost for choices in estimates.choices("latency").values() for choice in choices] == [7.0, 2.0]
