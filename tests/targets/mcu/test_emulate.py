"""Firmware that does not go into a board's memories."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.errors import UserError
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu.runtime import qemu as emulate
from edgeopt.targets.mcu.runtime import toolchain

PROGRAMS = {
    "flash": "const char bytes[40000] = {1}; int main(void) { return *(volatile const char *)&bytes[7]; }",
    "ram": "static volatile char bytes[40000]; int main(void) { return bytes[7]; }",
}


@pytest.mark.skipif(shutil.which(toolchain.GCC) is None, reason="the cross compiler is not installed")
@pytest.mark.parametrize("memory", PROGRAMS)
def test_a_memory_that_is_too_small_is_named_with_what_it_has_and_what_is_needed(memory: str, tmp_path: Path) -> None:
    board = resolve("mcu:mps2-an386").device
    assert board is not None
    small = replace(board, facts={**board.facts, memory: {**board.facts[memory], "size": 32768}})
    (tmp_path / "main.c").write_text(PROGRAMS[memory])
    with pytest.raises(UserError, match=rf"takes \d+ bytes of {memory}: 'mps2-an386' has 32768"):
        emulate.build(small, "cortex-m4", [tmp_path / "main.c"], tmp_path, [])
