"""The documentation says what the program does: help texts, and every command of the README."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.cli import main
from edgeopt.targets.openvino.sdk import cpu_precisions

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def readme_commands():
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("edgeopt ")]


def test_the_page_of_the_command_line_is_the_live_help(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_cli

    assert make_cli.PAGE.read_text("utf-8") == make_cli.page(), "run: python docs/make_cli.py"


def test_the_keywords_of_export_are_the_declared_options(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_overrides

    assert make_overrides.MODULE.read_text("utf-8") == make_overrides.module(), "run: python docs/make_overrides.py"


def test_the_flags_are_those_of_the_declared_options(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_flags

    assert make_flags.FILE.read_text("utf-8") == make_flags.content(), "run: python docs/make_flags.py"


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_folders_of_the_tree_exist():
    for folder in re.findall(r"^\| `([a-z/]+/)` \|", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    x = torch.randn(30, 1, 8, 8)
    torch.export.save(torch.export.export(model, (x[:1],)), tmp_path / "model.pt2")
    np.savez(tmp_path / "data.npz", input=x.numpy(), labels=model(x).argmax(1).numpy())
    for name in ("calib", "samples"):
        np.savez(tmp_path / f"{name}.npz", input=x[:20].numpy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    commands = readme_commands()
    assert len(commands) >= 10
    lacks_bf16 = "bf16" not in cpu_precisions()
    for line in commands:
        if lacks_bf16:  # there is then no such bundle
            line = line.replace(" build build-bf16", " build")
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(line)[1:])
        out, err = capsys.readouterr()
        if lacks_bf16 and "--precision bf16" in line:
            assert ended.value.code == 2 and "does not compute in bf16" in err
            continue
        assert ended.value.code == 0, f"{line}\n{err}"
        assert out, line
