"""The documentation says what the program does: help texts, and every command of the README."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.cli import main
from edgeopt.deploy.bundle import GOLDEN, read_manifest, read_report
from edgeopt.targets.openvino.sdk import cpu_precisions
from tests.typed import some

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("edgeopt ")]


def test_the_page_of_the_command_line_is_the_live_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_cli

    assert make_cli.PAGE.read_text("utf-8") == make_cli.page(), "run: python docs/make_cli.py"


def test_the_keywords_of_export_are_the_declared_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_overrides

    assert make_overrides.MODULE.read_text("utf-8") == make_overrides.module(), "run: python docs/make_overrides.py"


def test_the_flags_are_those_of_the_declared_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_flags

    assert make_flags.FILE.read_text("utf-8") == make_flags.content(), "run: python docs/make_flags.py"


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_folders_of_the_tree_exist() -> None:
    for folder in re.findall(r"^\| `([a-z/]+/)` \|", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


def figure(out: str, label: str) -> str:
    return str(some(re.search(rf"^ *{label} +(.*?)(  |$)", out, re.MULTILINE))[1]).strip()


def size_on_disk(bundle: str) -> int:
    entries = read_manifest(Path(bundle))["files"]
    return sum((Path(bundle) / entry["path"]).stat().st_size for entry in entries if entry["path"] != GOLDEN)


def check_size(printed: str, bundle: str) -> None:
    number, unit = printed.split()
    size = float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20}[unit]
    assert abs(size - size_on_disk(bundle)) <= 0.005 * size, f"{bundle}: {printed}"


def check_export(out: str, bundle: str) -> None:
    """Of a bundle: its size on disk, the error and the accuracy that its record has, and bounds of both."""
    run = read_report(Path(bundle))
    check_size(figure(out, "Size"), bundle)
    assert figure(out, "Error") == f"{some(run.error).relative:.1e}"
    # A sum of n products is off by n times half the last place of all their magnitudes: 9 and 144 in a row.
    is_float = run.target.precision_requested == "fp32" and not run.swaps
    assert some(run.error).relative <= (8 * (9 + 144) * 2.0**-24 if is_float else 0.1), bundle
    if run.accuracy is not None:  # the labels are the model's own answers
        assert figure(out, "Accuracy") == f"{run.accuracy.exported:.1%}".replace("%", " %")
        assert run.accuracy.original == 1 and run.accuracy.exported >= (1 if is_float else 0.9)


def check_figures(words: list[str], out: str) -> None:
    """What a command prints is what the model, the samples and the files say."""
    match words:
        case ["inspect", *_]:
            assert figure(out, "Parameters") == f"{4 * 9 + 4 + 4 * 4 + 144 * 3 + 3}"
            assert figure(out, "MACs") == f"{4 * 9 * 6 * 6 + 144 * 3:,}"
        case ["export" | "report", *rest]:
            check_export(out, rest[rest.index("-o") + 1] if "-o" in rest else rest[0])
        case ["bench", *bundles]:
            rows = re.findall(r"^  model .*$", out, re.MULTILINE)
            assert len(rows) == len(bundles)
            for row, bundle in zip(rows, bundles, strict=True):
                check_size(some(re.search(r"[\d.]+ [KM]?i?B", row))[0], bundle)
        case ["verify", bundle]:
            count = len(read_manifest(Path(bundle))["files"])
            assert f"files: {count} of {count} intact" in out and "relative error 0.00e+00" in out
        case ["calibrate", *rest] if "-o" in rest:
            tensors = json.loads(Path(rest[rest.index("-o") + 1]).read_text())["tensors"]
            assert f"{len(tensors)} tensors, 20 samples" in out
        case _:
            assert out, words


@pytest.mark.slow
def test_every_command_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
        check_figures(shlex.split(line)[1:], out)
