"""An export that differs from its original is not done: from the command line to the bundle, and in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.cli import main
from edgeopt.deploy.bundle import open_bundle, verify
from edgeopt.deploy.overrides import Overrides
from edgeopt.targets.reference import Reference
from tests.fakes import answering
from tests.typed import some

QUICK = ("--target", "reference", "--warmup", "1", "--max-seconds", "0.05", "--no-baseline", "-o", "out")


class Two(nn.Module):
    """One output of size 1e7, one of size 1, and one of integers."""

    def forward(self, x: torch.Tensor, n: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"large": x * 1e7, "small": x.tanh(), "next": n + 1}


INPUTS: dict[str, np.ndarray] = {"x": np.linspace(-1, 1, 8, dtype=np.float32)[None], "n": np.arange(4)}


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda outputs: {key: change(value) if key == name else value for key, value in outputs.items()}


small_is_wrong = changed("small", lambda value: value * np.float32(1.23))
integers_are_wrong = changed("next", lambda value: value + 1)
not_a_number = changed("large", lambda value: value * np.float32(np.nan))


def cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return (ended.value.code, *capsys.readouterr())  # type: ignore[return-value]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = tuple(torch.from_numpy(INPUTS[name]) for name in ("x", "n"))
    torch.export.save(torch.export.export(Two(), given), "model.pt2")


def test_a_difference_exits_1_and_says_so_everywhere(
    model: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Reference, "open", answering(Reference.open, small_is_wrong))
    code, out, err = cli(capsys, "export", "model.pt2", *QUICK)
    assert code == 1
    assert out.startswith("DIFFERS from the original: output 'small' has relative error 2.3e-01, at most 1.0e-03")
    assert "DIFFERS" in err and "hint: report the model" in err and "--accept-difference" in err
    assert json.loads(Path("out/manifest.json").read_text())["verdict"] == "differs"
    assert json.loads(Path("out/report.json").read_text())["verdict"] == "differs"
    page = Path("out/report.html").read_text()
    assert page.index('class="alarm"') < page.index("<h1>")
    code, out, _ = cli(capsys, "verify", "out")
    assert code == 1 and "against the original: differs" in out and "FAILED" in out
    assert json.loads(cli(capsys, "verify", "out", "--json")[1])["verdict"] == "differs"


def test_an_accepted_difference_is_done_and_stated_limits_still_bind(
    model: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Reference, "open", answering(Reference.open, small_is_wrong))
    reason = ("--accept-difference", "tanh is approximated on purpose")
    code, out, err = cli(capsys, "export", "model.pt2", *QUICK, *reason)
    assert code == 0 and out.startswith("DIFFERS") and reason[1] in " ".join(out.split()) and "hint:" not in err
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert (manifest["verdict"], manifest["accepted_difference"]) == ("differs", reason[1])
    code, out, _ = cli(capsys, "verify", "out")
    assert code == 0 and f"differs (accepted: {reason[1]})" in out
    assert cli(capsys, "export", "model.pt2", *QUICK, *reason, "--max-error", "0.1")[0] == 1
    code, _, err = cli(capsys, "export", "model.pt2", *QUICK, "--accept-difference", " ")
    assert code == 2 and "is empty" in err


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (integers_are_wrong, {"default-integers": "next"}),
        (
            not_a_number,
            {"default-error": "large", "default-sqnr": "large", "no-new-nan": "large", "program-error": "large"},
        ),
        (lambda outputs: outputs, {}),
    ],
)
def test_a_run_is_ok_only_within_the_default_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, missed: Any
) -> None:
    monkeypatch.setattr(Reference, "open", answering(Reference.open, change))
    options: Overrides = {"inputs": INPUTS, "warmup": 1, "max_seconds": 0.05, "baseline": False}
    run = edgeopt.export(Two(), "reference", tmp_path / "out", **options)
    assert {one.name: one.output for one in run.limits if not one.ok} == missed
    assert run.ok is (not missed) and run.verdict == ("differs" if missed else "equal")
    assert run.from_json(run.to_json()).limits == run.limits


class Counted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp().long()


@pytest.mark.parametrize(("value", "verdict"), [(2.0, "equal"), (25.0, "differs")])
def test_a_cast_is_held_to_what_the_runtime_reaches(tmp_path: Path, value: Any, verdict: Any) -> None:
    inputs = {"x": np.full((1, 4), value, np.float32)}
    options: Overrides = {"inputs": inputs, "warmup": 1, "max_seconds": 0.01, "baseline": False, "samples": 1}
    run = edgeopt.export(Counted(), "openvino", tmp_path / "out", **options)
    (reach,) = (one for one in run.limits if one.name == "reach")
    assert reach.limit == 2**31 - 1 and reach.value == pytest.approx(int(np.exp(value)), rel=1e-6)
    assert run.verdict == verdict and reach.ok is run.ok is (verdict == "equal")


class Unjudged(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"random": x + torch.rand_like(x), "empty": x[:0]}


def test_outputs_that_say_nothing_are_listed_and_nothing_is_claimed(tmp_path: Path) -> None:
    options: Overrides = {"inputs": {"x": INPUTS["x"]}, "warmup": 1, "max_seconds": 0.05, "baseline": False}
    run = edgeopt.export(Unjudged(), "reference", tmp_path / "out", **options)
    assert run.verdict == "not compared" and run.error is None and run.ok
    assert [(one.name, one.error) for one in run.outputs] == [("random", None), ("empty", None)]
    assert "other values each run" in str(run.outputs[0].reason) and run.outputs[1].reason == "it is empty"
    result = verify(tmp_path / "out")
    assert not result.ok and result.verdict == "not compared" and result.error is None
    assert set(result.not_compared) == {"random", "empty"}


class Chain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x * 2).sin() + 1).sqrt()


def test_the_first_wrong_node_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that computes sines a third too large."""
    compile_ = Reference.compile

    def wrong(self: Any, program: Any, *rest: Any) -> Any:
        program = program.clone()
        for node in [node for node in program.calls if node.target is torch.ops.aten.sin.default]:
            with program.graph.inserting_after(node):
                scaled = program.graph.call_function(torch.ops.aten.mul.Tensor, (node, 1.3))
            scaled.meta.update(node.meta)
            node.replace_all_uses_with(scaled, lambda user, scaled=scaled: user is not scaled)
        return compile_(self, program, *rest)

    monkeypatch.setattr(Reference, "compile", wrong)
    options: Overrides = {"inputs": {"x": np.abs(INPUTS["x"])}, "warmup": 1, "max_seconds": 0.05, "baseline": False}
    run = edgeopt.export(Chain(), "reference", tmp_path / "out", **options)
    assert run.verdict == "differs" and not run.ok
    assert "wrong first at sin (aten.sin)" in str(run.cause) and "return ((x * 2).sin() + 1).sqrt()" in str(run.cause)


def test_int8_that_is_terrible_differs_and_names_the_layer(tmp_path: Path) -> None:
    """One scale for channels of which one is a thousand times larger, and then not used."""
    torch.manual_seed(0)

    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model.get_parameter("0.weight").data[0] *= 1000.0
    model.get_parameter("2.weight").data[:, 0] = 0.0
    x = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", input=x)
    run = edgeopt.export(
        model.eval(),
        "onnx",
        tmp_path / "out",
        inputs={"input": x[:1]},
        calib=str(tmp_path / "calib.npz"),
        precision="int8",
        recover=("bias-correction",),  # without what would give each channel a scale
        baseline=False,
        warmup=1,
        max_seconds=0.05,
    )
    assert run.verdict == "differs" and run.exit_code == 1 and some(run.error).sqnr_db < 10
    assert "hurts most" in str(run.cause) and "dB by itself" in str(run.cause)


def test_ranges_that_were_calibrated_elsewhere_are_judged_on_real_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Invented inputs would leave the ranges: the labeled data tells, or what the model was traced with."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    x = torch.randn(40, 8) / 10
    torch.export.save(torch.export.export(model, (x[:1],)), "model.pt2")
    np.savez("calib.npz", input=x.numpy())
    np.savez("data.npz", input=x.numpy(), labels=model(x).argmax(1).numpy())
    assert cli(capsys, "calibrate", "model.pt2", "--target", "onnx", "--data", "calib.npz", "-o", "ranges.json")[0] == 0
    options: Overrides = {
        "precision": "int8",
        "ranges": "ranges.json",
        "baseline": False,
        "warmup": 1,
        "max_seconds": 0.05,
    }
    further: Overrides = {**options, "data": "data.npz"}
    for given in (options, further):
        run = edgeopt.export("model.pt2", "onnx", tmp_path / "out", **given)
        assert run.verdict == "close" and some(run.error).sqnr_db > 25


class Mixed(nn.Module):
    """A tensor beside values of Python's own."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int, float, bool, None, str]:
        return x + 1, 7, 2.5, True, None, "linear"


@pytest.mark.parametrize("target", ["reference", "onnx", "openvino"])
def test_numbers_among_the_outputs_are_constant_outputs_and_the_rest_is_named(
    target: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if target != "reference":
        pytest.importorskip({"onnx": "onnxruntime"}.get(target, target))
    exported = torch.export.export(Mixed(), (torch.zeros(2, 3),))
    run = edgeopt.export(exported, target, tmp_path / "out", warmup=1, max_seconds=0.05, baseline=False)
    assert run.verdict == "equal"
    with closing(open_bundle(tmp_path / "out")) as session:
        found = session.run({"x": np.zeros((2, 3), np.float32)})
    assert {name: value.tolist() for name, value in list(found.items())[1:]} == {
        "output_1": 7,
        "output_2": 2.5,
        "output_3": True,
    }
    assert [record.getMessage() for record in caplog.records if "left out" in record.getMessage()] == [
        "output 'output_4' is left out: None is not a tensor or number",
        "output 'output_5' is left out: 'linear' is not a tensor or number",
    ]


class Random(nn.Module):
    """An output that is another each time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.rand_like(x)


def test_what_was_never_compared_does_not_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.export.save(torch.export.export(Random(), (torch.zeros(2, 3),)), tmp_path / "model.pt2")
    out = str(tmp_path / "out")
    code, text, _ = cli(capsys, "export", str(tmp_path / "model.pt2"), *QUICK[:-1], out)
    assert code == 0 and text.startswith("NOT COMPARED") and "default ones hold" not in text
    code, text, _ = cli(capsys, "verify", out)
    assert code == 1 and text.splitlines()[-1].startswith("nothing could be compared: output 'output'")
    code, text, _ = cli(capsys, "verify", out, "--json")
    assert code == 1 and json.loads(text)["ok"] is False
