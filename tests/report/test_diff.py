"""``edgeopt diff``: what changed from one export to the next, and limits on it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeopt.cli import main
from edgeopt.records.run import Accuracy, Run


def written(folder: Path, run: Run) -> str:
    folder.mkdir()
    (folder / "report.json").write_text(run.to_json())
    return str(folder)


def changed(run: Run) -> Run:
    """Return the next release: slower by a tenth, two points worse, a layer in int8, another option and version."""
    assert run.latency is not None and run.error is not None and run.accuracy is not None
    layers = tuple(replace(one, precision="int8") if one.name == "conv2d_1" else one for one in run.latency.layers)
    accuracy = replace(run.accuracy, exported=run.accuracy.exported - 0.02)
    return replace(
        run,
        latency=replace(run.latency, median=run.latency.median * 1.1, layers=layers),
        accuracy=accuracy,
        error=replace(run.error, relative=run.error.relative * 4),
        passes=run.passes[1:],
        fallbacks=(),
        options={**run.options, "added": 7},
        versions={**run.versions, "torch": "9.9"},
    )


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["diff", *arguments, "--json"])
    code = ended.value.code
    assert isinstance(code, int)
    return code, json.loads(capsys.readouterr().out)


def test_what_changed_is_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = written(tmp_path / "old", run), written(tmp_path / "new", changed(run))
    code, found = told(capsys, old, new)
    texts = {(one["kind"], one["name"]): (one["before"], one["after"]) for one in found["texts"]}
    assert code == 0 and found["limits"] == []
    assert texts["layer", "conv2d_1"][1] == "int8" and ("layer", "conv2d_0") not in texts
    assert texts["option", "added"] == (None, "7") and texts["version", "torch"][1] == "9.9"
    assert texts["pass", run.passes[0].name][1] is None
    assert {name for kind, name in texts if kind == "fallback"} == {one.node for one in run.fallbacks}
    figures = {one["name"]: (one["before"], one["after"]) for one in found["figures"]}
    assert math.isclose(figures["latency"][1] / figures["latency"][0], 1.1)
    assert figures["size"][0] == figures["size"][1] == run.artifact.bytes
    code, found = told(capsys, old, old)
    assert code == 0 and found["texts"] == []


@pytest.mark.parametrize(
    ("limit", "missed", "held"), [("slowdown", 0.09, 0.11), ("drop", 0.01, 0.03), ("error-ratio", 3, 5)]
)
def test_limits_on_the_change(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: str, missed: float, held: float
) -> None:
    old, new = written(tmp_path / "old", run), written(tmp_path / "new", changed(run))
    for value, expected in ((missed, 1), (held, 0)):
        code, found = told(capsys, old, new, f"--max-{limit}", str(value))
        assert code == expected and found["limits"][0]["ok"] is (expected == 0)


def test_what_cannot_be_compared_is_not_held(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = replace(run, target=replace(run.target, hardware="another processor"), accuracy=None)
    old, new = written(tmp_path / "old", run), written(tmp_path / "new", elsewhere)
    assert isinstance(run.accuracy, Accuracy)
    for limit in ("slowdown", "drop"):
        code, found = told(capsys, old, new, f"--max-{limit}", "9")
        assert code == 1 and found["limits"][0]["value"] is None
    with pytest.raises(SystemExit) as ended:
        main(["diff", old, new, "--max-slowdown", "9"])
    assert ended.value.code == 1 and "not comparable" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("absent",), ("old", "--max-growth", "nan"), ("old", "--max-drop", "-1")])
def test_bad_input_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    old = written(tmp_path / "old", run)
    with pytest.raises(SystemExit) as ended:
        main(["diff", old, str(tmp_path / arguments[0]), *arguments[1:]])
    captured = capsys.readouterr()
    assert ended.value.code == 2 and captured.out == "" and captured.err.startswith("error: ")
