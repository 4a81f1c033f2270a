"""A bundle appears whole or not at all, and tells when it was touched."""

import json

import pytest

from edgeopt.bundle import file_entry, read_manifest, staged, write_manifest
from edgeopt.errors import UserError


def make_bundle(path, text="weights"):
    with staged(path) as folder:
        (folder / "model.bin").write_text(text)
        write_manifest(folder, {"source": {"name": "m"}})


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), staged(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_no_new_parents(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(RuntimeError), staged(tmp_path / "old" / "new" / "newer" / "out"):
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert list((tmp_path / "old").iterdir()) == []
    make_bundle(tmp_path / "old" / "new" / "out")
    assert (tmp_path / "old" / "new" / "out" / "model.bin").exists()


def test_a_bundle_is_replaced_whole_and_kept_on_error(tmp_path):
    make_bundle(tmp_path / "out", "old")
    with pytest.raises(RuntimeError), staged(tmp_path / "out"):
        raise RuntimeError
    assert (tmp_path / "out" / "model.bin").read_text() == "old"
    make_bundle(tmp_path / "out", "new")
    assert (tmp_path / "out" / "model.bin").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_no_bundle_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no bundle"), staged(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is no bundle"), staged(tmp_path / "file"):
        pass


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    make_bundle(tmp_path / "out")
    assert (tmp_path / "out" / "model.bin").exists()


def test_the_manifest_covers_all_files_but_the_reports(tmp_path):
    with staged(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.c").write_text("int a;")
        (folder / "report.json").write_text("{}")
        (folder / "report.html").write_text("<html>")
        write_manifest(folder, {"source": {"name": "m"}})
    manifest = read_manifest(tmp_path / "out")
    assert manifest["files"] == [file_entry(tmp_path / "out", "sub/a.c")]
    assert manifest["source"] == {"name": "m"}


def test_foreign_folders_are_no_bundles(tmp_path):
    with pytest.raises(UserError, match="is no bundle"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("not json")
    with pytest.raises(UserError, match="is no bundle"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(UserError, match="another form"):
        read_manifest(tmp_path)
