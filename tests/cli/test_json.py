"""Every command speaks JSON on stdout, and nothing else there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn


@pytest.fixture
def bundle(tmp_path: Path, run: Any) -> Any:
    exported = torch.export.export(nn.Linear(2, 2).eval(), (torch.ones(1, 2),))
    torch.export.save(exported, tmp_path / "model.pt2")
    quick = ("--warmup", "1", "--max-seconds", "0.1")
    code, out, _ = run("export", "model.pt2", "--target", "reference", "-o", "out", "--json", *quick)
    assert code == 0
    return json.loads(out)


def test_every_command(bundle: Any, run: Any) -> None:
    assert bundle["schema_version"] == 3
    expected: dict[tuple[str, ...], Callable[[Any], bool]] = {
        ("inspect", "model.pt2"): lambda found: found["macs"] == 4 and found["operators"] == {"aten.linear": 1},
        ("verify", "out"): lambda found: found["ok"] is True,
        ("bench", "out"): lambda found: found[0]["latency"]["runs"] >= 1,
        ("report", "out"): lambda found: found == bundle,
        ("targets",): lambda found: "reference" in {row["target"] for row in found},
        ("passes",): lambda found: "remove-noops" in {row["pass"] for row in found},
        ("passes", "--target", "reference"): lambda found: found[0]["order"] == "1",
        ("explain", "fold-affine"): lambda found: found["kind"] == "exact",
        ("doctor",): lambda found: "torch" in {row["what"] for row in found},
    }
    for arguments, is_right in expected.items():
        code, out, _ = run(*arguments, "--json")
        assert code == 0, arguments
        assert is_right(json.loads(out, parse_constant=pytest.fail)), (arguments, out)
