"""Custom operators: known by --import, written out where they have a decomposition, else named with what to do."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.errors import Unsupported, UserError
from edgeopt.frontend.load import LoadOptions, load

OPERATORS = """
import torch
from torch._decomp import register_decomposition

library = torch.library.Library("{name}", "FRAGMENT")
for operator in ("composite", "listed", "opaque"):
    library.define(f"{{operator}}(Tensor self) -> Tensor")
library.impl("composite", torch.ops.aten.round, "CompositeImplicitAutograd")
for operator in ("listed", "opaque"):
    library.impl(operator, torch.ops.aten.round, "CompositeExplicitAutograd")
    library.impl(operator, torch.empty_like, "Meta")


@register_decomposition(torch.ops.{name}.listed.default)
def listed(x):
    return torch.ops.{name}.composite(x)  # one that is to be written out in its turn


print("a module may print")
"""


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).round()


def archive(folder: Path, name: str, operator: str) -> Path:
    """A program that calls an operator of a library which no process has imported yet."""
    (folder / f"{name}.py").write_text(OPERATORS.format(name=name))
    torch.manual_seed(0)
    torch.export.save(torch.export.export(Rounded().eval(), (torch.randn(2, 4),)), folder / "plain.pt2")
    with zipfile.ZipFile(folder / "plain.pt2") as plain, zipfile.ZipFile(folder / "model.pt2", "w") as other:
        for member in plain.namelist():
            content = plain.read(member)
            other.writestr(member, content.replace(b"ops.aten.round", f"ops.{name}.{operator}".encode()))
    return folder / "model.pt2"


@pytest.mark.parametrize("operator", ["composite", "listed"])
def test_decompositions_stand_in_for_custom_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], operator: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"near_{operator}"
    path = archive(tmp_path, name, operator)
    with pytest.raises(UserError, match=rf"nothing here defines: {name}\.{operator}\.default") as caught:
        load(path)
    assert "--import MODULE --trust" in str(caught.value.hint)
    with pytest.raises(UserError, match="would run code"):
        load(path, LoadOptions(imports=(name,)))
    loaded = load(path, LoadOptions(imports=(name,), trust=True))
    assert capsys.readouterr().out == ""
    assert f"{name}.{operator}.default" in loaded.notes[0]
    assert name not in loaded.program.text()
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    expected = load(tmp_path / "plain.pt2").program.run({"x": x})["output"]
    assert np.array_equal(loaded.program.run({"x": x})["output"], expected)


def test_one_without_a_decomposition_is_named_with_three_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path, "near_opaque", "opaque")
    options = LoadOptions(imports=("near_opaque",), trust=True)
    assert "near_opaque" in load(path, options).program.text()
    with pytest.raises(Unsupported, match=r"near_opaque\.opaque") as caught:
        edgeopt.export(path, "onnx", tmp_path / "build", load=options)
    for way in ("near_opaque.opaque.default", "a decomposition", "edgeopt.operators", "replace it in the model"):
        assert way in str(caught.value.hint)
    assert not (tmp_path / "build").exists()


def test_a_module_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near_failing.py").write_text("1 / 0")
    for name, fact in (("near_failing", "ZeroDivisionError|division by zero"), ("near_absent", "No module named")):
        with pytest.raises(UserError, match=f"--import {name} fails.*({fact})"):
            load(nn.Linear(2, 2), LoadOptions(imports=(name,), trust=True))
