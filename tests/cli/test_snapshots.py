"""Arguments, exit code, stdout and stderr of every command, kept as snapshots."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.cli import COMMANDS

EXPORT = ("export", "model.pt2", "--target", "reference", "--warmup", "1", "--max-seconds", "0.1", "-o", "out")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).relu().flatten(1)


@pytest.fixture
def model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net().eval()
    torch.export.save(torch.export.export(net, (torch.ones(1, 1, 4, 4),)), tmp_path / "model.pt2")
    torch.save(net, tmp_path / "pickled.pt")
    torch.save(net.state_dict(), tmp_path / "state.pt")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "cut.pt2").write_bytes((tmp_path / "model.pt2").read_bytes()[:2000])
    np.savez(tmp_path / "wrong.npz", x=np.ones((1, 1, 5, 5), np.float32))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(scrubbed: Any, snapshot: Any, command: Any) -> None:
    assert scrubbed(*command.split(), "--help") == snapshot


def test_export_then_all_that_reads_a_bundle(model: Any, run: Any, tmp_path: Path) -> None:
    code, out, err = run(*EXPORT)
    assert code == 0
    assert "fold-batch-norm" in out and "conv2d" in out
    assert "loading the model" in err and "bundle: out" in err
    for arguments in (("verify", "out"), ("report", "out"), ("report", "out", "--markdown"), ("bench", "out")):
        code, out, _ = run(*arguments)
        assert code == 0 and out, arguments
    code, _, err = run("report", "out", "--html", "copy.html")
    assert code == 0 and "wrote copy.html" in err and "<html" in (tmp_path / "copy.html").read_text()


def test_verify(model: Any, run: Any, scrubbed: Any, snapshot: Any) -> None:
    run(*EXPORT)
    assert scrubbed("verify", "out") == snapshot


def test_verify_a_touched_bundle(model: Any, run: Any, scrubbed: Any, snapshot: Any, tmp_path: Path) -> None:
    run(*EXPORT)
    (tmp_path / "out" / "model.pt2").write_bytes(b"other")
    assert scrubbed("verify", "out") == snapshot


def test_a_missed_limit_exits_1(model: Any, run: Any) -> None:
    code, out, _ = run(*EXPORT, "--max-size", "10")
    assert code == 1 and "max-size" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "model.pt2"),
        ("passes", "--target", "reference"),
        ("explain", "fold-batch-norm"),
        ("explain", "fold-batchnorm"),
        ("explain", "slab"),
        ("explain", "reference"),
        ("export", "absent.pt2"),
        ("export", "empty.pt"),
        ("export", "cut.pt2"),
        ("export", "pickled.pt", "--input", "x:1x1x4x4"),
        ("export", "state.pt", "--input", "x:1x1x4x4"),
        ("export", "model.pt2", "--target", "referenc"),
        ("export", "model.pt2", "--target", "reference", "--opset", "18"),
        ("export", "model.pt2", "--target", "reference", "--precision", "int8"),
        ("export", "model.pt2", "--target", "reference", "--input", "x:1x1x5x5"),
        ("export", "model.pt2", "--target", "reference", "--input", "x=1"),
        ("export", "model.pt2", "--target", "reference", "--sample", "wrong.npz"),
        ("export", "model.pt2", "--target", "reference", "--skip-pass", "fold"),
        ("export", "model.pt2", "--samples", "many"),
        ("export", "model.pt2", "--target", "reference", "--recipe", "slap"),
        ("export", "model.pt2", "--target", "reference", "--recipe", "slab"),
        ("export", "model.pt2", "--target", "reference", "--recipe", "slab", "--tune", "soon"),
        ("export",),
        ("verify", "."),
        ("report", "."),
        ("bench", "."),
        ("expert",),
    ],
    ids=" ".join,
)
def test_output(model: Any, scrubbed: Any, snapshot: Any, arguments: Any) -> None:
    assert scrubbed(*arguments) == snapshot


@pytest.mark.parametrize("command", ["targets", "passes", "doctor"])
def test_what_is_installed(run: Any, command: Any) -> None:
    code, out, _ = run(command)
    assert code == 0
    assert {"targets": "reference", "passes": "fold-batch-norm", "doctor": "target onnx"}[command] in out


def test_options_come_from_a_file_and_flags_win(model: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text("samples = 5\nmax-error = 1e-12\nthreads = 2\n")
    code, out, _ = run(*EXPORT, "--config", "options.toml", "--max-error", "1.0", "--json")
    options = json.loads(out)["options"]
    assert code == 0
    assert (options["samples"], options["threads"], options["max-error"]) == (5, 2, 1.0)
    (tmp_path / "options.toml").write_text("sampels = 5\n")
    code, _, err = run(*EXPORT, "--config", "options.toml")
    assert code == 2 and "samples" in err
    (tmp_path / "options.toml").write_text("samples = = 5\n")
    code, _, err = run(*EXPORT, "--config", "options.toml")
    assert code == 2 and "not a readable TOML" in err
