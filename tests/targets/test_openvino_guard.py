"""A crash of OpenVINO's is an error of edgeopt's that names the operator, and the guard goes on after it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeopt.errors import EdgeoptError
from edgeopt.ir.program import Program
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino import guarded
from edgeopt.targets.openvino.guard import Guard

_CRASHING = """
import importlib.util, os, signal
spec = importlib.util.spec_from_file_location("guarded", {path!r})
guarded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guarded)

def compile_model(core, model, settings):
    if any(node.get_type_name() == "Sin" for node in model.get_ordered_ops()):
        os.kill(os.getpid(), signal.SIGSEGV)

guarded.serve(compile_model)
"""


class _Waves(nn.Module):
    def __init__(self, wave: bool) -> None:
        super().__init__()
        self.wave = wave

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(torch.cos(x) * 2)
        return torch.exp((torch.sin(y) if self.wave else y) + x)


def _compiled(program: Program, folder: Path) -> Path:
    folder.mkdir()
    target = resolve("openvino")
    target.compile(program, folder, target.Options())
    return folder / "model.xml"


def test_a_crash_names_the_operator_and_the_next_model_is_compiled(tmp_path: Path) -> None:
    script = tmp_path / "crashing.py"
    script.write_text(_CRASHING.format(path=guarded.__file__))
    guard = Guard(script)
    for wave in (True, False):
        path = _compiled(to_program(_Waves(wave), (torch.zeros(3),)), tmp_path / str(wave))
        if wave:
            with pytest.raises(EdgeoptError, match=r"OpenVINO crashed \(SIGSEGV\).* at node 'sin'"):
                guard.check(path, {})
        else:
            guard.check(path, {})
    guard.close()


def test_what_openvino_refuses_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("nothing that OpenVINO reads")
    guard = Guard()
    guard.check(tmp_path / "model.xml", {})
    guard.close()
