"""export() from end to end on the target that needs nothing, and each way in which it can fail."""

import json
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.deploy.bundle import verify
from edgeopt.deploy.overrides import Overrides
from edgeopt.errors import PassError, Placement, ToolchainMissing, Unsupported, UserError
from edgeopt.frontend.load import load
from edgeopt.ir.pass_base import Pass, PassResult
from edgeopt.plugins.target import Lowered
from edgeopt.records.layers import Fallback
from edgeopt.targets.reference import Reference
from tests.typed import some


class Quick(TypedDict):
    target: str
    max_seconds: float
    warmup: int


QUICK: Quick = {"target": "reference", "max_seconds": 0.2, "warmup": 1}
X = {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    net = Net()
    some(net.norm.running_mean).normal_()
    some(net.norm.running_var).uniform_(0.5, 2.0)
    return net.eval()


@pytest.fixture
def labeled(tmp_path: Path, net: Any) -> Any:
    x = np.random.default_rng(1).standard_normal((20, 3, 8, 8)).astype(np.float32)
    labels = net(torch.from_numpy(x)).argmax(1).numpy()
    labels[:5] = 1 - labels[:5]
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    return str(tmp_path / "data.npz")


def test_a_bundle_holds_what_happened(tmp_path: Path, net: Any, labeled: Any) -> None:
    run = edgeopt.export(net, output=tmp_path / "out", inputs=X, data=labeled, max_error=1e-3, **QUICK)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"model.pt2", "golden.npz", "manifest.json", "report.json", "report.html"}
    assert run == run.from_json((tmp_path / "out" / "report.json").read_text())
    assert run.ok and some(run.error).relative < 1e-5
    assert some(run.accuracy).samples == 20
    assert (some(run.accuracy).original, some(run.accuracy).exported, some(run.accuracy).agreement) == (0.75, 0.75, 1.0)
    assert [p.name for p in run.passes if p.changed] == ["fold-batch-norm"]
    assert run.model.parameters == sum(p.numel() for p in net.parameters()) + 8
    assert run.model.macs == 6 * 6 * 4 * 27 + 8
    assert some(run.baseline).speedup == some(some(run.baseline).latency).median / some(run.latency).median
    assert {layer.type for layer in some(run.latency).layers} >= {"aten.conv2d", "aten.linear"}
    assert "aten.batch_norm" not in {layer.type for layer in some(run.latency).layers}
    assert sum(some(layer.share) for layer in some(run.latency).layers) == pytest.approx(1.0)
    assert verify(tmp_path / "out").ok


def test_specs_are_written_as_on_the_command_line(tmp_path: Path, net: Any) -> None:
    run = edgeopt.export(net, output=tmp_path / "out", inputs="x:2x3x8x8", dynamic=["x:0=1..4"], **QUICK)
    assert run.ok and run.options["dynamic"] == ["x:0=1..4"]
    with pytest.raises(UserError, match="'x:0=4' is not a dynamic dimension"):
        edgeopt.export(net, output=tmp_path / "bad", inputs=X, dynamic="x:0=4", **QUICK)


def test_two_exports_give_the_same_bytes(tmp_path: Path, net: Any) -> None:
    torch.export.save(torch.export.export(net, (torch.from_numpy(X["x"]),)), tmp_path / "model.pt2")
    for name in ("a", "b"):
        edgeopt.export(tmp_path / "model.pt2", output=tmp_path / name, **QUICK)
    for file in ("model.pt2", "golden.npz", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["source"]["sha256"] == load(tmp_path / "model.pt2").sha256
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_touched_bundle_does_not_verify(tmp_path: Path, net: Any) -> None:
    edgeopt.export(net, output=tmp_path / "out", inputs=X, **QUICK)
    golden = tmp_path / "out" / "golden.npz"
    arrays = dict(np.load(golden))
    np.savez(golden, **{k: v + 1 if k.startswith("output") else v for k, v in arrays.items()})
    assert verify(tmp_path / "out").damaged == ("golden.npz",)
    (tmp_path / "out" / "model.pt2").unlink()
    assert verify(tmp_path / "out").damaged == ("golden.npz", "model.pt2")


def test_an_artifact_that_computes_otherwise_does_not_verify(
    tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    edgeopt.export(net, output=tmp_path / "out", inputs=X, **QUICK)
    opened = Reference.open

    def drifting(self: Any, folder: Path, options: Any) -> Any:
        session = opened(self, folder, options)
        run = session.run
        monkeypatch.setattr(session, "run", lambda inputs: {k: 1.01 * value for k, value in run(inputs).items()})
        return session

    monkeypatch.setattr(Reference, "open", drifting)
    result = verify(tmp_path / "out")
    assert not result.ok and some(result.error).relative == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    "limit", [{"max_latency": 1e-9}, {"max_size": 10}, {"min_accuracy": 0.9}, {"max_error": 1e-12}]
)
def test_a_missed_limit_is_told_and_everything_written(tmp_path: Path, net: Any, labeled: Any, limit: Any) -> None:
    run = edgeopt.export(net, output=tmp_path / "out", inputs=X, data=labeled, **limit, **QUICK)
    assert not run.ok and run.exit_code == 1
    (name,) = limit
    assert [entry.name for entry in run.limits if not entry.is_default] == [name.replace("_", "-")]
    assert run.verdict == "close" and all(entry.ok for entry in run.limits if entry.is_default)
    assert (tmp_path / "out" / "report.html").exists()


def test_limits_that_hold(tmp_path: Path, net: Any, labeled: Any) -> None:
    limits: Overrides = {"max_latency": 1e6, "max_size": 10**6, "min_accuracy": 0.7, "max_error": 1e-4}
    limits |= {"inputs": X, "data": labeled, "max_seconds": 0.2, "warmup": 1}
    assert edgeopt.export(net, "reference", tmp_path / "out", **limits).ok


def test_nodes_that_cannot_be_placed_are_all_listed_and_nothing_is_left(
    tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    placements = [Placement("relu", "aten.relu", "no kernel"), Placement("mean", "aten.mean.dim", "no kernel")]
    monkeypatch.setattr(Reference, "lower", lambda self, program, options: Lowered(program, tuple(placements)))
    with pytest.raises(Unsupported, match=r"relu \(aten.relu\)[\s\S]*mean"):
        edgeopt.export(net, output=tmp_path / "out", inputs=X, **QUICK)
    assert not any(tmp_path.iterdir())


def test_a_fallback_is_reported_and_refused_when_strict(
    tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fallback = (Fallback("relu", "aten.relu", "ran in float64", 0.1),)
    monkeypatch.setattr(Reference, "fallbacks", lambda self, layers, options, formats: fallback)
    run = edgeopt.export(net, output=tmp_path / "out", inputs=X, **QUICK)
    assert run.fallbacks[0].reason == "ran in float64"
    with pytest.raises(UserError, match="ran in float64"):
        edgeopt.export(net, output=tmp_path / "strict", inputs=X, strict=True, **QUICK)
    assert not (tmp_path / "strict").exists()


def test_what_cannot_run_here_is_written_and_says_so(tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Any, folder: Path, options: Any) -> None:
        raise ToolchainMissing("the emulator", "apt-get install emulator")

    monkeypatch.setattr(Reference, "open", missing)
    run = edgeopt.export(net, output=tmp_path / "out", inputs=X, max_error=1.0, **QUICK)
    assert "emulator" in str(run.not_run)
    assert run.error is None and run.latency is None and not run.ok
    result = verify(tmp_path / "out")
    assert result.ok and "emulator" in str(result.not_run)


def test_a_failed_plain_export_is_a_warning(tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Reference.write

    def only_optimized(self: Any, lowered: Any, folder: Path, options: Any) -> Any:
        if not lowered.program.history:
            raise UserError("no", "no")
        return written(self, lowered, folder, options)

    monkeypatch.setattr(Reference, "write", only_optimized)
    run = edgeopt.export(net, output=tmp_path / "out", inputs=X, **QUICK)
    assert run.baseline is None
    assert any("plain export fails" in warning for warning in run.warnings)


def test_without_a_baseline_only_the_artifact_is_measured(tmp_path: Path, net: Any) -> None:
    run = edgeopt.export(net, output=tmp_path / "out", inputs=X, baseline=False, **QUICK)
    assert run.baseline is None and run.latency is not None


def test_large_artifacts_are_measured_one_at_a_time(tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeopt.deploy.export.HELD_TOGETHER_BYTES", 0)
    run = edgeopt.export(net, output=tmp_path / "out", inputs=X, **QUICK)
    assert run.baseline is not None and some(run.latency).layers
    assert verify(tmp_path / "out").ok


class Vandal(Pass):
    """Says it is exact and doubles a weight."""

    name = "vandal"

    def run(self, program: Any, context: Any) -> Any:
        program = program.clone()
        program.constants["head_weight"] = 2 * program.constants["head_weight"]
        return PassResult(program, True)


def test_a_pass_that_breaks_its_word_leaves_the_last_good_program(
    tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeopt.candidate.pass_list.pass_class", lambda name: Vandal)
    with pytest.raises(PassError, match=r"vandal.*first at node linear.*passes already run.*fold-batch-norm"):
        edgeopt.export(net, output=tmp_path / "out", inputs=X, add_passes=("vandal",), **QUICK)
    assert [p.name for p in tmp_path.iterdir()] == ["out.last-good.pt2"]
    last_good = load(tmp_path / "out.last-good.pt2").program
    assert np.allclose(last_good.run(X)["output"], net(torch.from_numpy(X["x"])).detach().numpy(), atol=1e-5)


def test_passes_can_be_skipped_and_dumped(tmp_path: Path, net: Any) -> None:
    skip = ("fold-batch-norm",)
    run = edgeopt.export(net, output=tmp_path / "out", inputs=X, skip_passes=skip, dump=str(tmp_path / "dump"), **QUICK)
    assert "fold-batch-norm" not in [p.name for p in run.passes]
    texts = sorted((tmp_path / "dump").iterdir())
    assert len(texts) == len(run.passes)
    assert "aten.batch_norm" in texts[-1].read_text()
    with pytest.raises(UserError, match="unknown pass 'fold-batch-nrom'") as caught:
        edgeopt.export(net, output=tmp_path / "out", inputs=X, skip_passes=("fold-batch-nrom",), **QUICK)
    assert "fold-batch-norm" in str(caught.value.hint)


def test_a_pass_that_needs_more_than_a_program_cannot_be_added(tmp_path: Path, net: Any) -> None:
    with pytest.raises(UserError, match="pass 'insert-qdq' makes a precision"):
        edgeopt.export(net, output=tmp_path / "out", inputs=X, add_passes=("insert-qdq",), **QUICK)


def test_a_nan_output_is_refused(tmp_path: Path) -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sqrt()

    with pytest.raises(UserError, match="'output' is NaN"):
        edgeopt.export(Root(), output=tmp_path / "out", inputs={"x": -np.ones((1, 2), np.float32)}, **QUICK)


def test_data_that_does_not_fit_is_refused(tmp_path: Path, net: Any) -> None:
    np.savez(tmp_path / "bare.npz", x=np.zeros((3, 3, 8, 8), np.float32))
    with pytest.raises(UserError, match="holds no labels"):
        edgeopt.export(net, output=tmp_path / "out", inputs=X, data=str(tmp_path / "bare.npz"), **QUICK)
    np.savez(tmp_path / "short.npz", x=np.zeros((3, 3, 8, 8), np.float32), labels=np.zeros(2, int))
    with pytest.raises(UserError, match="2 labels for 3 samples"):
        edgeopt.export(net, output=tmp_path / "out", inputs=X, data=str(tmp_path / "short.npz"), **QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "referense"}, "unknown target"),
        ({"target": "reference:mars"}, "no device 'mars'"),
        ({"target": "reference", "precison": "fp32"}, "no option 'precison'"),
        ({"target": "reference", "precision": "int8"}, "does not run precision 'int8'"),
        ({"target": "reference", "threads": 0}, "threads is 0"),
        ({"target": "reference", "samples": 0}, "samples is 0"),
    ],
)
def test_bad_requests_are_refused_with_a_hint(tmp_path: Path, net: Any, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        edgeopt.export(net, output=tmp_path / "out", inputs=X, **given)
    assert caught.value.hint
