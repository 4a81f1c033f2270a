"""The wheel holds the tree: every package, every data file; and it works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAPPED = {"edgeopt": "edgeopt", "targets": "edgeopt.targets", "kernels": "edgeopt.kernels", "calib": "edgeopt.calib"}
SOURCES = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")


def packaged_files() -> set[str]:
    """Every file of the four folders under the path it has once installed."""
    found = set()
    for folder, package in MAPPED.items():
        files = (p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts)
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
