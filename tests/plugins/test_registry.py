"""Passes and targets are found by entry point."""

from importlib.metadata import EntryPoint

import pytest

from edgeopt.passes.exact.remove_noops import RemoveNoops
from edgeopt.plugins import registry


def test_a_pass_that_cannot_be_imported_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    values = {"broken": "edgeopt_broken:Pass", "remove-noops": "edgeopt.passes.exact.remove_noops:RemoveNoops"}
    entries = {name: EntryPoint(name, value, "edgeopt.passes") for name, value in values.items()}
    monkeypatch.setattr(registry, "entry_points", lambda group: entries.values())
    assert registry.pass_classes() == {"remove-noops": RemoveNoops}
    assert "pass 'broken' cannot be imported" in caplog.text
