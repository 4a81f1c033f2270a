"""The command line: a model too large for its device, and operators that go nowhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.cli import main
from samples.digits_vit import DigitsVit
from tests.qemu import requires_qemu
from tests.typed import savez

QUICK = ("--recover", "bias-correction", "--no-baseline", "--samples", "1", "--max-seconds", "1")


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Return a function that exports a module for the smallest device: (exit code, stdout, stderr)."""

    def call(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, str, str]:
        x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
        exported = torch.export.export(module.eval(), (torch.from_numpy(x[:1]),))
        torch.export.save(exported, tmp_path / "model.pt2")
        (name,) = exported.graph_signature.user_inputs
        savez(tmp_path / "calib.npz", {str(name): x})
        files = (tmp_path / "model.pt2", "--calib", tmp_path / "calib.npz", "-o", tmp_path / "out")
        with pytest.raises(SystemExit) as ended:
            main(["export", *map(str, files), "--target", "mcu:cortex-m0plus", "--json", *QUICK])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


@requires_qemu
def test_a_model_too_large_for_its_device_exits_1_and_says_by_how_much(export: Any) -> None:
    wide = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 4),
    )  # fmt: skip
    code, out, _ = export(wide, (3, 24, 24))
    missed = {limit["name"]: limit["value"] - limit["limit"] for limit in json.loads(out)["limits"] if not limit["ok"]}
    assert code == 1
    assert set(missed) == {"device-flash", "device-ram"}
    assert missed["device-ram"] > 24 * 24 * 64 - 32 * 1024
    assert missed["device-flash"] > 64 * 4096 - 256 * 1024


class Gated(DigitsVit):
    """A transformer with two operators that have no kernel: a product of activations by element, a cumulative sum."""

    def __init__(self) -> None:
        super().__init__(width=12, heads=2, depth=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.position
        gated = self.blocks(tokens) * torch.sigmoid(tokens)
        return self.classifier(self.norm(gated).cumsum(1).mean(1))


def test_what_goes_nowhere_is_listed_at_once_before_anything_is_compiled(
    export: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    code, out, err = export(Gated(), (1, 8, 8))
    assert code == 2 and not out
    assert "Traceback" not in err
    assert "cumsum" in err and "mul (aten.mul.Tensor)" in err and "no kernel, nor for aten.sigmoid beside it" in err
    assert err.count("TVM, which would compile it, is not installed") == 2
    assert not (tmp_path / "out").exists()
