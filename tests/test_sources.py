"""What is kept between runs is found again by the same code alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt import sources
from edgeopt.calib.cache import Entry
from edgeopt.search.store import Store


def package(folder: Path) -> Path:
    (folder / "kernels").mkdir(parents=True)
    (folder / "a.py").write_text("x = 1\n")
    (folder / "kernels" / "b.c").write_text("int b;\n")
    return folder


def test_the_same_files_have_one_digest_wherever_they_lie(tmp_path: Path) -> None:
    one, other = package(tmp_path / "one"), package(tmp_path / "other")
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert sources.digest_of([one]) == sources.digest_of([other])


@pytest.mark.parametrize("touch", ["a.py", "kernels/b.c", "new.toml"])
def test_a_changed_or_new_file_changes_it(touch: str, tmp_path: Path) -> None:
    folder = package(tmp_path / "one")
    before = sources.digest_of([folder])
    (folder / touch).write_text("changed\n")
    assert sources.digest_of([folder]) != before


def test_a_renamed_file_changes_it(tmp_path: Path) -> None:
    folder = package(tmp_path / "one")
    before = sources.digest_of([folder])
    (folder / "a.py").rename(folder / "c.py")
    assert sources.digest_of([folder]) != before


def test_all_packages_count() -> None:
    for name in sources.PACKAGES:
        folders = list(sources.folders_of(name))
        assert folders and all(any(Path(folder).glob("*.py")) for folder in folders)


def test_kept_results_are_of_these_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def keys() -> tuple[str, Path]:
        return Entry.of(tmp_path, "model", "data", "mse").key, Store(["facts"]).file

    before = keys()
    assert keys() == before
    sources.source_digest.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(sources, "digest_of", lambda folders: "touched")
        after = keys()
    sources.source_digest.cache_clear()
    assert not set(after) & set(before)
