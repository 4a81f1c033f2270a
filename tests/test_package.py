"""The wheel holds the tree: every package, data and types; and it works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
MAPPED = {"edgeopt": "edgeopt", "targets": "edgeopt.targets", "kernels": "edgeopt.kernels", "calib": "edgeopt.calib"}
CALLER = """\
from pathlib import Path
from typing import Any

import edgeopt
import numpy as np

run = edgeopt.export("model.pt2", "cpu", precision="int8", calib=Path("calib.npz"), max_latency=2, keep_float=["head"])
run = edgeopt.export("model.pt2", inputs={"x": np.zeros(3)}, output=Path("out"), on_progress=print)
fine: bool = run.ok
others: dict[str, Any] = {"bits_of_another_target": 3}
edgeopt.export("model.pt2", "another", **others)
edgeopt.export("model.pt2", inputs="x:1x3", dynamic=["x:0=1..8"], only_vnni=True)
edgeopt.export("model.pt2", precision=8)  # wrong
edgeopt.export("model.pt2", keep_float="head")  # wrong
edgeopt.export("model.pt2", precison="int8")  # wrong
edgeopt.exprot("model.pt2")  # wrong
fast: str = run.ok  # wrong
"""
SOURCES = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")


def packaged_files() -> set[str]:
    """Every file of the four folders under the path it has once installed."""
    found = set()
    for folder, package in MAPPED.items():
        files = (
            p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.name[0] != "."
        )
        found |= {f"{package.replace('.', '/')}/{p.relative_to(ROOT / folder).as_posix()}" for p in files}
    return found


def test_packages_are_those_of_the_tree() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {Path(name).parent for name in packaged_files() if name.endswith(".py")}
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in folders)
    assert all(f"{'/'.join(folder.parts)}/__init__.py" in packaged_files() for folder in folders)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy because setuptools leaves its own files in the tree it builds."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in MAPPED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=SOURCES)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == packaged_files()


@pytest.mark.slow
def test_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = tmp_path / "use.py"
    script.write_text(
        "import edgeopt, torch\n"
        f"assert edgeopt.__file__.startswith({str(site)!r}), edgeopt.__file__\n"
        "class Half(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x / 2\n"
        "run = edgeopt.export(Half(), target='reference', inputs={'x': torch.ones(1, 4)}, output='out')\n"
        "assert run.error.relative == 0.0\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run([sys.executable, script], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "out" / "report.json").is_file()


@pytest.mark.slow
def test_types_reach_a_caller_outside(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    venv.create(tmp_path / "venv", with_pip=False)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "numpy").symlink_to(Path(np.__file__).parent)
    (tmp_path / "caller.py").write_text(CALLER)
    python = str(tmp_path / "venv" / "bin" / "python")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        os.devnull,
        "--python-executable",
        python,
        "caller.py",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    wrong = {number for number, line in enumerate(CALLER.splitlines(), 1) if line.endswith("# wrong")}
    assert found == wrong, done.stdout + done.stderr
