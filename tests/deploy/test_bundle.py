"""A bundle appears whole or not at all, and tells when it was touched."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgeopt.deploy.bundle import file_entry, read_manifest, refuse_within, staged, write_manifest
from edgeopt.errors import UserError


def make_bundle(path: Path, text: str = "weights") -> None:
    with staged(path) as folder:
        (folder / "model.bin").write_text(text)
        write_manifest(folder, {"source": {"name": "m"}})


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_no_new_parents(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(RuntimeError), staged(tmp_path / "old" / "new" / "newer" / "out"):
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert list((tmp_path / "old").iterdir()) == []
    make_bundle(tmp_path / "old" / "new" / "out")
    assert (tmp_path / "old" / "new" / "out" / "model.bin").exists()


def test_a_bundle_is_replaced_whole_and_kept_on_error(tmp_path: Path) -> None:
    make_bundle(tmp_path / "out", "old")
    with pytest.raises(RuntimeError), staged(tmp_path / "out"):
        raise RuntimeError
    assert (tmp_path / "out" / "model.bin").read_text() == "old"
    make_bundle(tmp_path / "out", "new")
    assert (tmp_path / "out" / "model.bin").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_no_bundle_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis.txt"), staged(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not a bundle"), staged(tmp_path / "file"):
        pass


@pytest.mark.parametrize("place", ["notes.txt", "notes/today.txt", "notes"])
def test_what_the_manifest_does_not_list_is_never_replaced(tmp_path: Path, place: Any) -> None:
    make_bundle(tmp_path / "out", "old")
    added = tmp_path / "out" / place
    if added.suffix:
        added.parent.mkdir(exist_ok=True)
        added.write_text("years of work")
    else:
        added.mkdir()
    with pytest.raises(UserError, match=place.partition("/")[0]):
        make_bundle(tmp_path / "out", "new")
    assert added.exists()
    assert (tmp_path / "out" / "model.bin").read_text() == "old"


def test_what_is_added_during_the_work_is_not_replaced_either(tmp_path: Path) -> None:
    make_bundle(tmp_path / "out", "old")
    with pytest.raises(UserError, match=r"notes.txt"), staged(tmp_path / "out"):
        (tmp_path / "out" / "notes.txt").write_text("written meanwhile")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["manifest.json", "model.bin", "notes.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"files": 3}', '{"files": [{}]}', "not json"])
def test_a_manifest_that_lists_nothing_protects_the_folder(tmp_path: Path, manifest: Any) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=r"manifest.json.*did not write"), staged(tmp_path / "out"):
        pass


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    make_bundle(tmp_path / "out")
    make_bundle(tmp_path / "out", "new")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "model.bin").read_text() == "new"
    (tmp_path / "lost").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"nowhere.*does not exist"):
        make_bundle(tmp_path / "lost")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "lost", "out"]


@pytest.mark.parametrize("output", [".", "..", "/", "file/out", "n" * 300, "/proc/out", "/dev/null"])
def test_an_output_that_cannot_be_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: Any
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "file").touch()
    monkeypatch.chdir(tmp_path / "work")
    begun = False
    with pytest.raises(UserError) as caught, staged(Path(output)):
        begun = True
    assert not begun and caught.value.hint
    assert [p.name for p in tmp_path.rglob("*")] == ["work", "file"]


@pytest.mark.parametrize("dump", ["out", "out/passes"])
def test_what_is_written_beside_a_bundle_does_not_lie_in_it(tmp_path: Path, dump: Any) -> None:
    with pytest.raises(UserError, match="which the bundle replaces"):
        refuse_within(tmp_path / "out", [tmp_path / dump])
    refuse_within(tmp_path / "out", [tmp_path / "outer", tmp_path])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_told_and_nothing_stays(tmp_path: Path, number: int) -> None:
    make_bundle(tmp_path / "out", "old")
    with pytest.raises(UserError, match=os.strerror(number)), staged(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise OSError(number, os.strerror(number))
    assert (tmp_path / "out" / "model.bin").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_rename_that_fails_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path / "out", "old")
    rename = Path.rename

    def refused(self: Any, target: Any) -> Any:
        if Path(target).name == "out" and (self / "model.bin").read_text() == "new":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(UserError, match="Permission denied"):
        make_bundle(tmp_path / "out", "new")
    assert (tmp_path / "out" / "model.bin").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    make_bundle(tmp_path / "out")
    assert (tmp_path / "out" / "model.bin").exists()


def test_the_manifest_covers_all_files_but_the_reports(tmp_path: Path) -> None:
    golden = {"bound": 1e-4, "not_run": "it does not run here", "not_compared": {}}
    target = {"name": "reference", "device": "reference", "options": {}}
    verdict = {"verdict": "close", "accepted_difference": None, "artifact": ["sub/a.c"]}
    with staged(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.c").write_text("int a;")
        (folder / "report.json").write_text("{}")
        (folder / "report.html").write_text("<html>")
        write_manifest(folder, {"source": {"name": "m"}, "golden": golden, "target": target, **verdict})
    manifest = read_manifest(tmp_path / "out")
    assert manifest["files"] == [file_entry(tmp_path / "out", "sub/a.c")]
    assert manifest["source"] == {"name": "m"}


def test_foreign_folders_are_no_bundles(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a bundle"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("not json")
    with pytest.raises(UserError, match="is not a bundle"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(UserError, match="another form"):
        read_manifest(tmp_path)
