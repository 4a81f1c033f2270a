"""What a file is, told by content; and every kind of bad file refused with a reason."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeopt.errors import UserError
from edgeopt.frontend.archive import Format, identify


def write_zip(path: Path, members: Any, compression: Any = zipfile.ZIP_STORED) -> Any:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_kinds_are_told_by_content_not_by_suffix(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    exported = torch.export.export(module, (torch.zeros(1, 2),))
    torch.export.save(exported, tmp_path / "a.pt2")
    (tmp_path / "a.pt2").rename(tmp_path / "exported.bin")
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 2)), tmp_path / "script.bin")
    torch.save(module.state_dict(), tmp_path / "state.bin")
    torch.save(module.state_dict(), tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    from safetensors.torch import save_file

    save_file(module.state_dict(), tmp_path / "tensors.bin")
    assert identify(tmp_path / "exported.bin") is Format.EXPORTED
    assert identify(tmp_path / "script.bin") is Format.TORCHSCRIPT
    assert identify(tmp_path / "state.bin") is Format.CHECKPOINT
    assert identify(tmp_path / "legacy.bin") is Format.CHECKPOINT
    assert identify(tmp_path / "tensors.bin") is Format.SAFETENSORS


def test_missing_empty_folder_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        identify(tmp_path / "absent.pt2")
    with pytest.raises(UserError, match="is a folder"):
        identify(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(UserError, match="is empty"):
        identify(tmp_path / "empty")
    (tmp_path / "text").write_text("hello, world: not a model")
    with pytest.raises(UserError, match="is not a file that a PyTorch model is saved in"):
        identify(tmp_path / "text")
    with pytest.raises(UserError, match="holds no model"):
        identify(write_zip(tmp_path / "zip", {"a/readme.txt": "x"}))


def test_truncated_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(4096)}, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="truncated"):
        identify(tmp_path / "cut")
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    (tmp_path / "flipped").write_bytes(bytes(flipped))
    with pytest.raises(UserError, match="damaged"):
        identify(tmp_path / "flipped")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "a\\..\\..\\evil"])
def test_members_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leaves its folder"):
        identify(write_zip(tmp_path / "zip", {name: "x", "a/data.pkl": "x"}))


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="leaves its folder"):
        identify(tmp_path / "zip")


def test_bombs_are_refused_by_ratio_and_by_size(tmp_path: Path) -> None:
    bomb = write_zip(tmp_path / "bomb", {"a/data.pkl": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="unpacks"):
        identify(bomb)
    plain = write_zip(tmp_path / "plain", {"a/data.pkl": bytes(5000)})
    with pytest.raises(UserError, match="limit 4000") as caught:
        identify(plain, max_bytes=4000)
    assert "--max-archive-bytes" in str(caught.value.hint)
    assert identify(plain) is Format.CHECKPOINT


@pytest.mark.parametrize(
    ("expression", "is_safe"),
    [
        ("s0", True),
        ("2*s77 + Max(1, s0)", True),
        ("FloorDiv(s0, 2)", True),
        ("Mul(Integer(64), Symbol('s77', positive=True, integer=True))", True),
        ("GreaterThan(Symbol('u0', integer=True), Integer(0))", True),
        ("TruncToInt(Mul(Float('1.5', precision=53), ToFloat(Symbol('s53', positive=True, integer=True))))", True),
        ("1.5e-05*s0", True),
        ("Equality(Symbol('u0', integer=True), Integer(2))", True),
        ("Float('os.system')", False),
        ("Float('1'.__class__)", False),
        ("Symbol('os.system')", False),
        ('Symbol("s77")', False),
        ("__import__('os').system('true')", False),
        ("exec('x')", False),
        ("s0.__class__", False),
        ("(lambda: 0)()", False),
    ],
)
def test_symbolic_expressions_that_could_run_code_are_refused(tmp_path: Path, expression: Any, is_safe: Any) -> None:
    graph = json.dumps({"range": {"expr_str": expression, "hint": 4}})
    path = write_zip(tmp_path / "zip", {"a/models/model.json": graph})
    if is_safe:
        assert identify(path) is Format.EXPORTED
    else:
        with pytest.raises(UserError, match="symbolic expression"):
            identify(path)
