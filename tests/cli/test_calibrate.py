import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.cli import main


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.export.save(torch.export.export(Layer().eval(), (torch.zeros(1, 4),)), tmp_path / "model.pt2")
    x = np.random.default_rng(0).random((20, 4), np.float32)
    np.savez(tmp_path / "calib.npz", x=x)
    np.savez(tmp_path / "wider.npz", x=x * 2)
    return tmp_path / "model.pt2"


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(["calibrate", "model.pt2", *arguments])
    assert isinstance(done.value.code, int)
    return done.value.code


def test_writes_ranges_and_finds_no_drift_in_the_same_data(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--data", "calib.npz", "-o", "ranges.json") == 0
    first = Path("ranges.json").read_text()
    assert call("--data", "calib.npz", "-o", "ranges.json", "--check", "ranges.json", "--no-cache") == 0
    assert Path("ranges.json").read_text() == first
    assert "no tensor drifted" in capsys.readouterr().out


def test_drift_exits_1_and_names_the_tensors(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call("--data", "calib.npz", "-o", "ranges.json", "--method", "minmax")
    arguments = ("--data", "wider.npz", "--method", "minmax", "--check", "ranges.json", "--junit", "ci/junit.xml")
    assert call(*arguments) == 1
    assert "drifted: linear moved from" in capsys.readouterr().out
    suite = ElementTree.parse("ci/junit.xml").getroot()
    assert suite.get("failures") == str(len(suite.findall("testcase/failure"))) != "0"
    assert call(*arguments, "--drift", "500%") == 0


def test_progress_goes_to_stderr_as_lines_when_piped_and_bars_on_a_terminal(
    model: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).random((60, 4), np.float32)
    np.savez("many.npz", x=x)
    assert call("--data", "many.npz", "--no-cache") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "samples" in line]
    assert lines == ["extremes: 50 of 60 samples", "histograms: 50 of 60 samples"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert call("--data", "many.npz", "--no-cache") == 0
    out, err = capsys.readouterr()
    assert "60/60" in err and "━" in err and "━" not in out


def test_json(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--data", "calib.npz", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == 20 and found["method"] == "mse" and found["drifted"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--data", "missing.npz"),
        ("--data", "calib.npz", "--method", "guess"),
        ("--data", "calib.npz", "--drift", "much"),
        ("--data", "calib.npz", "--check", "missing.json"),
        ("--data", "calib.npz", "--target", "reference"),
        (),
    ],
)
def test_bad_requests_exit_2_in_two_lines(arguments: Any, model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments, "-o", "ranges.json") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert lines[0].startswith("error: ") and len(lines) <= 2
    assert not Path("ranges.json").exists()
