"""Files of results are there whole or not at all; a place that cannot be is named before the work."""

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeopt.errors import UserError
from edgeopt.files import check_writable, replacing, write_whole, writing


def test_a_file_is_replaced_whole_and_kept_on_error(tmp_path: Path) -> None:
    place = tmp_path / "new" / "ranges.json"
    write_whole(place, "old")
    with pytest.raises(ZeroDivisionError), replacing(place) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert place.read_text() == "old"
    write_whole(place, "new")
    assert place.read_text() == "new"
    assert [p.name for p in place.parent.iterdir()] == ["ranges.json"]


def test_an_error_leaves_no_new_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left"), replacing(tmp_path / "a" / "b" / "file") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_links_are_written_through_and_devices_straight(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"
    write_whole(Path("/dev/null"), "gone")
    assert not Path("/dev/null").is_file()
    with pytest.raises(UserError, match="No space left"):
        write_whole(Path("/dev/full"), "x" * 10_000)


@pytest.mark.parametrize("place", ["folder", "file/report", "n" * 300, "/proc/report", "dangling"])
def test_a_place_that_cannot_be_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    refusals: tuple[Callable[[Path], object], ...] = (
        lambda file: check_writable(file, "own"),
        lambda file: write_whole(file, "text"),
    )
    for refused in refusals:
        with pytest.raises(UserError) as caught:
            refused(Path(place))
        assert caught.value.hint
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["dangling", "file", "folder"]


def test_a_full_disk_is_told_whatever_a_library_says_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="unexpected pos"), writing(tmp_path / "model"):
        raise RuntimeError("unexpected pos 64 vs 0")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(UserError, match="No space left"), writing(tmp_path / "model"):
        raise RuntimeError("unexpected pos 64 vs 0")
