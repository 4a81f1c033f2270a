"""The samples run as a user runs them: scripts as modules, third-party packages installed, edgeopt untouched."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import edgeopt
from edgeopt.cli import main
from edgeopt.plugins import registry

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
THIRD_PARTY = ("third_party_target", "third_party_pass", "third_party_operator")
QUICK = ("--no-baseline", "--max-seconds", "0.1")
Trained = Callable[[str], Path]

SNAKE_MODEL = """
import torch
from edgeopt_snake import snake

class Model(torch.nn.Module):
    def forward(self, x):
        return snake(x, torch.full((3,), 2.0))

torch.export.save(torch.export.export(Model(), (torch.ones(2, 3),)), '{}')
"""

pytestmark = pytest.mark.slow


def run(*command: object, path: Path | None = None) -> str:
    """Run Python in the checkout, with ``path`` before everything else; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}" if path else str(ROOT)}
    arguments = [sys.executable, *map(str, command)]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def command_line(*arguments: object, path: Path | None = None) -> Any:
    """Call the command line with ``--json``."""
    return json.loads(run("-c", "from edgeopt.cli import main; main()", *arguments, "--json", path=path))


@pytest.mark.parametrize(("name", "least"), [("digits_cnn", 0.98), ("digits_vit", 0.96)])
def test_trains_and_exports(name: str, least: float, trained: Trained, tmp_path: Path) -> None:
    folder = trained(name)
    with np.load(folder / "eval.npz") as data:
        images, labels = data["images"], data["labels"]
    model = torch.export.load(folder / "model.pt2").module()
    right = model(torch.from_numpy(images)).argmax(1).numpy() == labels
    assert right.mean() >= least

    given: dict[str, Any] = {"data": str(folder / "eval.npz"), "max_seconds": 0.1}
    record = edgeopt.export(folder / "model.pt2", "reference", tmp_path / "out", **given)
    assert record.accuracy is not None and record.accuracy.exported == pytest.approx(right.mean())
    assert record.error is not None and record.error.relative < 1e-5


def test_the_cnn_goes_to_a_microcontroller(trained: Trained, tmp_path: Path) -> None:
    folder = trained("digits_cnn")
    given: dict[str, Any] = {"calib": str(folder / "calib.npz"), "baseline": False, "max_seconds": 0.1}
    record = edgeopt.export(folder / "model.pt2", "cortex-m4", tmp_path / "out", **given)
    assert (tmp_path / "out" / "network" / "network.h").exists()
    assert record.model.inputs == ("images:1x1x8x8:float32",)
    if record.not_run is None:
        assert record.error is not None and record.error.relative < 0.03
        assert record.latency is not None and record.latency.unit == "instructions"


def ci_commands() -> dict[str, list[list[str]]]:
    """The commands of the CI workflows, by the file they stand in, split as a shell splits them."""
    github = yaml.safe_load((SAMPLES / "ci" / "github.yml").read_text("utf-8"))
    gitlab = yaml.safe_load((SAMPLES / "ci" / "gitlab.yml").read_text("utf-8"))
    lines = {
        "github.yml": [step["run"] for step in github["jobs"]["int8"]["steps"] if "run" in step],
        "gitlab.yml": gitlab["int8"]["script"],
    }
    return {file: [shlex.split(line) for line in found] for file, found in lines.items()}


def test_the_workflows_run_as_they_stand(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = ci_commands()
    assert commands["github.yml"] == commands["gitlab.yml"]
    install, *calls = commands["github.yml"]
    assert install == ["pip", "install", "edgeopt[all]"]
    assert [call[:2] for call in calls] == [["edgeopt", "calibrate"], ["edgeopt", "export"]]
    folder = shutil.copytree(trained("digits_cnn"), tmp_path / "checkout")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return ended.value.code, capsys.readouterr().out

    assert call("calibrate", "model.pt2", "--data", "calib.npz", "-o", "ranges.json")[0] == 0
    for arguments in calls:
        code, out = call(*arguments[1:])
        assert code == 0, out
    assert (folder / "calibration.xml").exists() and (folder / "build" / "report.html").exists()
    with np.load("calib.npz") as data:
        np.savez("calib.npz", images=data["images"] * 2)
    code, out = call(*calls[0][1:])
    assert code == 1 and "drifted: images" in out


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the third-party packages installed, entry points included."""
    site = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site)
    # From copies, because setuptools leaves its own files in the tree it builds.
    copies = tmp_path_factory.mktemp("packages")
    sources = [shutil.copytree(SAMPLES / package, copies / package) for package in THIRD_PARTY]
    run("-m", "pip", "install", *options, *sources)
    return site


@pytest.fixture(scope="module")
def padded_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution behind explicit zero padding."""
    path = tmp_path_factory.mktemp("model") / "padded.pt2"
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.ZeroPad2d(1), torch.nn.Conv2d(3, 4, 3)).eval()
    torch.export.save(torch.export.export(module, (torch.randn(1, 3, 8, 8),)), path)
    return path


def test_third_party_packages_are_found(installed: Path) -> None:
    assert "float64" not in registry.target_names()
    assert {"float64", "reference"} <= {row["target"] for row in command_line("targets", path=installed)}
    assert {"fold-padding", "fold-batch-norm"} <= {row["pass"] for row in command_line("passes", path=installed)}


def test_third_party_target_and_pass_export(installed: Path, padded_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    request = ("export", padded_model, "--target", "float64", "--add-pass", "fold-padding", *QUICK, "-o", out)
    record = command_line(*request, path=installed)
    assert [(entry["name"], entry["applied"]) for entry in record["passes"]] == [("fold-padding", 1)]
    assert record["target"]["precision_executed"] == "fp64"
    assert record["error"]["relative"] < 1e-6
    assert command_line("verify", out, path=installed)["ok"]


def test_a_third_party_operator_is_known_to_the_command_line(installed: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "model.pt2", tmp_path / "out"
    run("-c", SNAKE_MODEL.format(model), path=installed)
    with pytest.raises(AssertionError, match=r"snake\.snake"):
        command_line("export", model, "--target", "onnx", *QUICK, "-o", out)
    record = command_line("export", model, "--target", "onnx", *QUICK, "-o", out, path=installed)
    assert record["error"]["relative"] < 1e-5
    assert command_line("verify", out, path=installed)["ok"]


def test_third_party_packages_pass_their_own_tests(installed: Path) -> None:
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib")
    told = run("-m", "pytest", *options, *(SAMPLES / package for package in THIRD_PARTY), path=installed)
    assert " passed" in told
