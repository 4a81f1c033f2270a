"""Precision auto from end to end: what is chosen holds the limits, and a search goes on where it was cut off."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.deploy.overrides import Overrides
from edgeopt.errors import UserError
from edgeopt.report.sections import sections
from tests.qemu import requires_qemu
from tests.typed import some

WIDTH = 64


class Fragile(nn.Module):
    """Three layers; the middle one's output is a small difference of large numbers, so that rounding it is costly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fragile, self.last = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        with torch.no_grad():
            self.fragile.weight[:, 0] = 20.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        return self.last(torch.relu(self.fragile(y) - 20.0 * y[:, :1]))


QUICK: dict[str, Any] = {"baseline": False, "max_seconds": 0.05}


def export(folder: Path, target: str = "onnx", **options: Any) -> Any:
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((40, WIDTH)).astype(np.float32)
    np.savez(folder / "calib.npz", x=x)
    given: dict[str, Any] = {
        "precision": "auto",
        "baseline": False,
        "max_seconds": 0.05,
        "calib": str(folder / "calib.npz"),
    }
    given |= {"format": ("fp32", "int8", "int4")}
    return edgeopt.export(Fragile().eval(), target, folder / "out", inputs={"x": x[:1]}, **{**given, **options})


class Cut(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A folder with the cache in it, for all searches here."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def known(folder: Path) -> int:
    """How many measurements a search had made when it was cut off."""

    def cut(step: str) -> None:
        if "trying int8" in step:
            raise Cut

    with pytest.raises(Cut):
        export(folder, max_error=5e-2, on_progress=cut)
    assert not (folder / "out").exists()
    (kept,) = (folder / "cache/edgeopt/search").glob("*.json")
    return len(json.loads(kept.read_text()))


@pytest.fixture(scope="module")
def run(folder: Path, known: Any) -> Any:
    """A search that goes on where that one ended, under a limit on the error and one on the size."""
    return export(folder, max_error=5e-2, max_size=45_000)


def formats(run: Any) -> dict[str, str]:
    return {layer.layer: layer.format for layer in run.search.layers}


def test_the_limits_hold_and_the_fragile_layer_stays_in_float(run: Any) -> None:
    assert run.ok and run.error.relative <= 5e-2
    fragile = max(run.search.layers, key=lambda layer: layer.noise["int8"])
    assert fragile.format == "fp32" and fragile.noise["int4"] > 0.01
    assert list(formats(run).values()).count("fp32") < 3


def test_the_artifact_is_the_trial_that_was_chosen(run: Any) -> None:
    trial = run.search.trials[run.search.chosen]
    assert trial.ok and trial.bytes == sum(file.bytes for file in run.artifact.files) <= 45_000
    assert trial.counts == {name: list(formats(run).values()).count(name) for name in formats(run).values()}
    assert run.error.relative == pytest.approx(trial.error.relative, rel=1e-3)
    holding = [other for other in run.search.trials if other.ok]
    assert trial.speedup == max(other.speedup for other in holding)


def test_it_went_on_where_it_had_been_cut_off(run: Any, known: Any) -> None:
    # Noise of three layers in two formats, three profiles, and the exact configuration.
    assert known == 10
    assert run.search.reused == known and len(run.search.trials) > 3


def test_what_is_known_is_not_measured_again(run: Any, folder: Path) -> None:
    again = export(folder, max_size=45_000)
    assert again.search.reused > len(run.search.trials)
    fitting = [trial for trial in again.search.trials if trial.bytes <= 45_000]
    assert again.search.trials[again.search.chosen].error.relative == min(t.error.relative for t in fitting)


def test_nothing_on_the_front_is_beaten_in_error_speed_and_size(run: Any) -> None:
    figures = {(t.error.relative, -t.speedup, t.bytes): t.on_front for t in run.search.trials}
    beaten = {one for one in figures for o in figures if o != one and all(a <= b for a, b in zip(o, one, strict=True))}
    assert beaten == {one for one, on_front in figures.items() if not on_front}


def test_where_no_mixture_holds_the_limit_it_is_missed_and_said(run: Any, folder: Path) -> None:
    missed = export(folder, max_size=100)
    assert missed.exit_code == 1 and not any(trial.ok for trial in missed.search.trials)
    assert "misses a limit" in next(section.lead for section in sections(missed) if section.id == "formats")


def test_other_data_is_another_search_and_a_layer_may_be_left_out(folder: Path, known: Any) -> None:
    x = np.random.default_rng(1).standard_normal((40, WIDTH)).astype(np.float32)
    np.savez(folder / "other.npz", x=x)
    other = export(
        folder, max_error=0.5, calib=str(folder / "other.npz"), keep_float=("linear",), format=("fp32", "int8")
    )
    assert other.search.reused == 0
    assert "linear" not in formats(other) and len(formats(other)) == 2


@pytest.mark.slow
def test_openvino_mixes_floats_integers_four_bits_and_signs(folder: Path) -> None:
    run = export(folder, "openvino", max_error=5e-2, format=(), binary_steps=5)
    tried = {name for trial in run.search.trials for name in trial.counts}
    assert tried >= {"fp32", "int8", "int4", "nvfp4", "binary"} and run.ok
    text = (folder / "out" / "report.html").read_text()
    assert "Error and speed of the configurations" in text


class Small(nn.Module):
    """Convolutions and a linear, as microcontrollers run them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(16 * 16, 10)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.slow
@requires_qemu
def test_microcontrollers_mix_int8_four_bits_and_signs_under_a_limit_on_flash(folder: Path) -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((40, 8, 4, 4)).astype(np.float32)
    np.savez(folder / "small.npz", x=x)
    given: Overrides = {"precision": "auto", "baseline": False, "calib": str(folder / "small.npz"), "binary_steps": 5}
    given |= {"inputs": {"x": x[:1]}, "max_size": 12_500}
    run = edgeopt.export(Small().eval(), "cortex-m4", folder / "micro", **given)
    exact, *others = some(run.search).trials
    assert exact.counts == {"int8": 3} and exact.bytes > 12_500 and exact.speedup == 1.0
    assert {name for trial in others for name in trial.counts} == {"int8", "int4", "binary"}
    trial = some(run.search).trials[some(run.search).chosen]
    assert run.ok and run.artifact.memory["flash"] == trial.bytes <= 12_500
    fitting = [other for other in some(run.search).trials if other.bytes <= 12_500]
    assert trial.error.relative == min(other.error.relative for other in fitting)
    assert some(run.latency).median == trial.latency


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no limit to choose under"),
        ({"max_error": 0.1, "calib": None}, "needs calibration data"),
        ({"max_error": 0.1, "format": ("int8",)}, "nothing to choose among int8"),
        ({"max_error": 0.1, "format": ("fp32", "int5")}, "does not mix format 'int5'"),
        ({"max_error": 0.1, "precision": "int8"}, "--format is given with precision 'int8'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export(tmp_path, **options)
    assert not (tmp_path / "out").exists()


def test_a_target_that_mixes_nothing_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not run precision 'auto'"):
        export(tmp_path, "reference", max_error=0.1)
