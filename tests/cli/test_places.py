"""Where nothing can be written, every command that writes ends in one error, and nothing of it stays."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

import edgeopt
from edgeopt.errors import UserError
from edgeopt.search.store import Store
from tests.fuzz.kills import prepare

_EXPORT = ("export", "model.pt2", "--target", "reference", "--no-baseline", "--max-seconds", "0.01")
COMMANDS = {
    "export": (*_EXPORT, "-o"),
    "calibrate": ("calibrate", "model.pt2", "--data", "data.npz", "--no-cache", "-o"),
    "report": ("report", "bundle", "--html"),
    "tune": (
        *(*_EXPORT, "-o", "tuned", "--recipe", "tuned.toml", "--tune-data", "data.npz", "--tune", "20", "--force"),
        "--checkpoint",
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the commands read."""
    folder = tmp_path_factory.mktemp("files")
    prepare(folder)
    edgeopt.export(folder / "model.pt2", "reference", folder / "bundle", baseline=False, max_seconds=0.01)
    return folder


@pytest.fixture
def refused(run: Any, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function from a command and a place to what it says, two lines, as it writes nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)

    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").touch()

    def call(command: str, place: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = run(*COMMANDS[command], place)
        *progress, error, hint = err.splitlines()
        assert (code, out) == (2, "") and error.startswith("error: ") and hint.startswith("hint: "), err
        assert not any("Traceback" in line or line.startswith(("error: ", "hint: ")) for line in progress)
        assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
        return str(error)

    return call


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_refuses(refused: Any, command: str) -> None:
    # A checkpoint's name is the beginning of those of its files, so that a link may have it.
    for place in ("/proc/place", "file/below", *(("dangling",) if command != "tune" else ())):
        assert place.removesuffix("/below") in refused(command, place)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(refused: Any, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    fill(monkeypatch)
    assert "'place" in (said := refused(command, "place")) and said.endswith(os.strerror(errno.ENOSPC))


def test_a_search_that_can_keep_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for place in ("/proc/place", str(tmp_path / "file")):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        for keep in (lambda: Store(["a search"]).recall("cost", lambda: 1.0, float), lambda: Store([""]).beside(".x")):
            with pytest.raises(UserError, match=place):
                keep()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fill(monkeypatch)
    with pytest.raises(UserError, match=os.strerror(errno.ENOSPC)):
        Store(["a search"]).recall("cost", lambda: 1.0, float)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "file"]


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full: there is no space, and what was written cannot be kept."""

    def sync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 0))
