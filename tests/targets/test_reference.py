"""The reference target: the contract, and what is particular to it."""

from __future__ import annotations

import zipfile

from edgeopt.frontend.load import load
from edgeopt.plugins.testing import TargetContract


class TestReference(TargetContract):
    target = "reference"
    bound = 0.0

    def test_the_archive_is_a_program_again(self) -> None:
        program = load(self._folder / "model.pt2").program
        assert program.output_names == self._program.output_names
        assert program.inputs == self._program.inputs

    def test_the_archive_holds_no_source_lines(self) -> None:
        with zipfile.ZipFile(self._folder / "model.pt2") as archive:
            texts = [archive.read(name) for name in archive.namelist() if name.endswith(".json")]
        assert texts
        assert not any(b"stack_trace" in text or b".py" in text for text in texts)
