"""Every kind of file gives the same program; every kind of bad input one clear error."""

import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeopt.errors import UserError
from edgeopt.frontend import torchscript
from edgeopt.frontend.archive import Format
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.load import LoadOptions, load
from edgeopt.plugins.worker import Worker


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.act(self.norm(self.conv(x))).mean((2, 3))))


class Marker:
    """Sets a flag when unpickled: proof that code ran."""

    ran = False

    def __reduce__(self) -> Any:
        return (_mark, ())


def _mark() -> Any:
    Marker.ran = True
    return Marker()


SPEC = (InputSpec.parse("x:2x3x8x8"),)


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def arch(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = types.ModuleType("some_arch")
    vars(module).update(make=Net, broken=lambda: 1 / 0)
    monkeypatch.setitem(sys.modules, "some_arch", module)
    return "some_arch:make"


def test_all_kinds_of_files_give_the_same_program(tmp_path: Path, net: Any, arch: str) -> None:
    x = torch.zeros(2, 3, 8, 8)
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "exported.pt2")
    torch.export.save(torch.export.export(net, (x,)).run_decompositions({}), tmp_path / "decomposed.pt2")
    torch.jit.save(torch.jit.trace(net, x), tmp_path / "traced.pt")
    torch.jit.save(torch.jit.script(net), tmp_path / "scripted.pt")
    torch.save(net.state_dict(), tmp_path / "state.pt")
    save_file(net.state_dict(), tmp_path / "state.safetensors")
    torch.save(net, tmp_path / "pickled.pt")
    options = LoadOptions(inputs=SPEC, trust=True)
    found = {
        p.name: load(p, replace(options, arch=arch if p.stem == "state" else None)) for p in sorted(tmp_path.iterdir())
    }
    texts = {loaded.program.text() for loaded in found.values()}
    assert len(texts) == 1, "\n".join(texts)
    first = found["exported.pt2"].program
    for loaded in found.values():
        for name, tensor in loaded.program.constants.items():
            assert torch.equal(tensor, first.constants[name])
    assert found["traced.pt"].format is Format.TORCHSCRIPT
    assert all(loaded.sha256 and len(loaded.sha256) == 64 for loaded in found.values())


def test_an_archive_needs_no_input_spec_and_carries_its_example(tmp_path: Path, net: Any) -> None:
    x = torch.randn(2, 3, 8, 8)
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "model.pt2")
    loaded = load(tmp_path / "model.pt2")
    assert np.array_equal(loaded.example["x"], x.numpy())
    assert np.allclose(loaded.program.run(loaded.example)["output"], net(x).detach().numpy())


def test_loading_a_module_leaves_its_mode(net: Any) -> None:
    net.train()
    load(net, LoadOptions(inputs=SPEC))
    assert net.training


def test_dynamic_dimensions_run_at_other_sizes(net: Any) -> None:
    loaded = load(net, LoadOptions(inputs=(InputSpec.parse("x:1x3x8x8"),), dynamic=(DynamicSpec.parse("x:0=1..16"),)))
    assert loaded.program.is_dynamic
    assert loaded.program.run({"x": np.zeros((5, 3, 8, 8), np.float32)})["output"].shape == (5, 2)


def test_a_dynamic_archive_loads(tmp_path: Path, net: Any) -> None:
    dims = {"x": {0: torch.export.Dim("batch", min=1, max=16)}}
    exported = torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=dims)
    torch.export.save(exported, tmp_path / "model.pt2")
    program = load(tmp_path / "model.pt2").program
    assert program.is_dynamic
    assert program.run({"x": np.zeros((7, 3, 8, 8), np.float32)})["output"].shape == (7, 2)


def test_a_pickle_is_refused_without_running_and_runs_when_trusted(tmp_path: Path, net: Any) -> None:
    net.marker = Marker()
    torch.save(net, tmp_path / "model.pt")
    Marker.ran = False
    with pytest.raises(UserError, match="is a pickle") as caught:
        load(tmp_path / "model.pt", LoadOptions(inputs=SPEC))
    assert "--trust" in str(caught.value.hint)
    assert "torch.export.save" in str(caught.value.hint)
    assert not Marker.ran
    load(tmp_path / "model.pt", LoadOptions(inputs=SPEC, trust=True))
    assert Marker.ran


def test_pickles_inside_an_export_archive_do_not_run(tmp_path: Path, net: Any) -> None:
    import io

    torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 8, 8),)), tmp_path / "good.pt2")
    evil = io.BytesIO()
    torch.save(((Marker(),), {}), evil)
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, evil.getvalue() if "sample_inputs" in name else good.read(name))
    Marker.ran = False
    with pytest.raises(UserError, match="cannot be read: its example inputs hold objects") as caught:
        load(tmp_path / "evil.pt2")
    assert "example_inputs = None" in str(caught.value.hint)
    assert not Marker.ran


ALTERED: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "weights/weight_0": (lambda content: content[:8], "out of bounds for storage of size 8"),
    "weights/weight_1": (lambda content: None, "failed locating file data/weights/weight_1"),
    "model.json": (lambda content: content.replace(b"linear.default", b"linear.absent"), "aten.linear.absent"),
}


@pytest.mark.parametrize("member", ALTERED)
def test_altered_archives_are_told_by_what_is_wrong(tmp_path: Path, member: Any) -> None:
    change, fact = ALTERED[member]
    torch.export.save(torch.export.export(nn.Linear(3, 4), (torch.zeros(2, 3),)), tmp_path / "good.pt2")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            altered = change(content) if name.endswith(member) else content
            if altered is not None:
                bad.writestr(name, altered)
    with pytest.raises(UserError, match=fact):
        load(tmp_path / "bad.pt2")


def test_a_state_dict_needs_an_architecture_that_fits(tmp_path: Path, net: Any, arch: str) -> None:
    torch.save(net.state_dict(), tmp_path / "state.pt")
    with pytest.raises(UserError, match="no architecture") as caught:
        load(tmp_path / "state.pt", LoadOptions(inputs=SPEC))
    assert "--arch" in str(caught.value.hint)
    for wrong in ("absent_module:make", "some_arch:absent"):
        with pytest.raises(UserError, match="fails"):
            load(tmp_path / "state.pt", LoadOptions(inputs=SPEC, arch=wrong))
    torch.save({"w": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="does not fit"):
        load(tmp_path / "other.pt", LoadOptions(inputs=SPEC, arch=arch))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds a list"):
        load(tmp_path / "list.pt", LoadOptions(inputs=SPEC, arch=arch))


def test_wrong_inputs_are_named(tmp_path: Path, net: Any) -> None:
    with pytest.raises(UserError, match="no example inputs"):
        load(net)
    with pytest.raises(UserError, match="no input 'y'"):
        load(net, LoadOptions(inputs=(InputSpec.parse("y:2x3x8x8"),)))
    with pytest.raises(UserError, match="cannot be traced"):
        load(net, LoadOptions(inputs=(InputSpec.parse("x:2x5x8x8"),)))
    torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 8, 8),)), tmp_path / "model.pt2")
    with pytest.raises(UserError, match="2x3x9x9"):
        load(tmp_path / "model.pt2", LoadOptions(inputs=(InputSpec.parse("x:2x3x9x9"),)))
    with pytest.raises(UserError, match="has dtype float64"):
        load(tmp_path / "model.pt2", LoadOptions(sample={"x": np.zeros((2, 3, 8, 8))}))
    with pytest.raises(UserError, match="holds NaN"):
        load(tmp_path / "model.pt2", LoadOptions(sample={"x": np.full((2, 3, 8, 8), np.nan, np.float32)}))
    with pytest.raises(UserError, match="was traced already"):
        load(tmp_path / "model.pt2", LoadOptions(dynamic=(DynamicSpec.parse("x:0=1..4"),)))


def test_samples_come_without_a_name_and_in_any_byte_order(tmp_path: Path, net: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    for sample in ({"": x}, {"x": x.astype(">f4")}):
        loaded = load(net, LoadOptions(sample=sample))
        assert np.array_equal(loaded.example["x"], x) and loaded.example["x"].dtype.isnative
    with pytest.raises(UserError, match=r"array 'x' .* holds <U1"):
        load(net, LoadOptions(sample={"x": np.array(["a"])}))
    with pytest.raises(UserError, match="holds no array"):
        load(net, LoadOptions(sample={}))


def test_bfloat16_inputs_travel_as_float32() -> None:
    model = nn.Linear(4, 2).bfloat16()
    loaded = load(model, LoadOptions(inputs=(InputSpec.parse("input:1x4:bfloat16"),)))
    assert loaded.example["input"].dtype == np.float32
    assert loaded.program.run(loaded.example)["output"].shape == (1, 2)
    assert load(model, LoadOptions(sample={"input": np.ones((1, 4), np.float32)})).program.inputs


def test_an_input_without_dimensions_keeps_none() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, factor: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return x * factor, factor + 1

    sample: dict[str, Any] = {"x": np.ones((1, 2), np.float32), "factor": np.float32(3)}
    loaded = load(Scaled(), LoadOptions(sample=sample))
    outputs = loaded.program.run(loaded.example)
    assert outputs["output_1"].shape == () and np.array_equal(outputs["output_0"], [[3, 3]])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_taken_off_and_said(tmp_path: Path, net: Any, arch: str, prefix: Any) -> None:
    torch.save({prefix + name: tensor for name, tensor in net.state_dict().items()}, tmp_path / "state.pt")
    loaded = load(tmp_path / "state.pt", LoadOptions(inputs=SPEC, arch=arch))
    assert torch.equal(loaded.program.constants["head_weight"], net.head.weight)
    assert f"'{prefix}'" in loaded.notes[0]


def test_a_prefix_that_is_the_models_own_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("wrapped_arch")
    vars(module).update(make=lambda: Own())
    monkeypatch.setitem(sys.modules, "wrapped_arch", module)

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.module(x)

    own = Own()
    torch.save(own.state_dict(), tmp_path / "state.pt")
    options = LoadOptions(inputs=(InputSpec.parse("x:1x2"),), arch="wrapped_arch:make")
    loaded = load(tmp_path / "state.pt", options)
    assert loaded.notes == () and torch.equal(loaded.program.constants["module_weight"], own.module.weight)


def test_the_only_module_of_a_training_checkpoint_is_taken_and_said(tmp_path: Path, net: Any) -> None:
    torch.save({"model": net, "epoch": 3}, tmp_path / "training.pt")
    with pytest.raises(UserError, match="is a pickle"):
        load(tmp_path / "training.pt", LoadOptions(inputs=SPEC))
    loaded = load(tmp_path / "training.pt", LoadOptions(inputs=SPEC, trust=True))
    assert loaded.program.outputs and "'model'" in loaded.notes[0]


def test_operators_that_nothing_defines_are_named(tmp_path: Path) -> None:

    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.round()

    torch.export.save(torch.export.export(Rounded(), (torch.ones(2),)), tmp_path / "good.pt2")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "model.pt2", "w") as other:
        for name in good.namelist():
            other.writestr(name, good.read(name).replace(b"ops.aten.round", b"ops.their.round"))
    with pytest.raises(UserError, match=r"nothing here defines: their\.round\.default") as caught:
        load(tmp_path / "model.pt2")
    assert "--import" in str(caught.value.hint)


class OfList(nn.Module):
    def forward(self, xs: list[torch.Tensor]) -> torch.Tensor:
        return xs[0] + xs[1]


class OfPair(nn.Module):
    def forward(self, xs: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return xs[0] + xs[1]


class OfOption(nn.Module):
    def forward(self, x: torch.Tensor, xs: torch.Tensor | None = None) -> torch.Tensor:
        return x if xs is None else x + xs


@pytest.mark.parametrize("model", [OfList(), OfPair(), OfOption()], ids=lambda model: type(model).__name__)
def test_torchscript_takes_tensors_alone(tmp_path: Path, model: Any) -> None:
    torch.jit.script(model).save(tmp_path / "script.pt")
    with pytest.raises(UserError, match=r"argument 'xs' of the TorchScript model is .*Tensor.*, not a tensor"):
        load(tmp_path / "script.pt", LoadOptions(inputs=(InputSpec.parse("xs:2x3"),)))


def test_a_crash_over_torchscript_is_an_error(tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.jit.script(net).save(tmp_path / "script.pt")
    (tmp_path / "crashing.py").write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.setattr(torchscript, "WORKER", Worker(tmp_path / "crashing.py"))
    with pytest.raises(UserError, match=r"script\.pt' cannot be read: torch crashed \(SIGSEGV\)") as caught:
        load(tmp_path / "script.pt", LoadOptions(inputs=SPEC))
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["torchscript", "exported", "state"])
def test_no_weight_is_read_beyond_what_the_file_holds(tmp_path: Path, net: Any, arch: str, kind: str) -> None:
    if kind == "torchscript":
        torch.jit.script(net).save(tmp_path / "model")
    elif kind == "exported":
        torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 8, 8),)), tmp_path / "model")
    else:
        torch.save(net.state_dict(), tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model") as good, zipfile.ZipFile(tmp_path / "short", "w") as short:
        for name in good.namelist():
            is_weight = name.endswith(("data/0", "weights/weight_0"))
            short.writestr(name, good.read(name)[: 4 if is_weight else None])
    with pytest.raises(UserError, match=r"is shorter than|out of bounds for storage of size 4|record size \(4 bytes\)"):
        load(
            tmp_path / "short",
            LoadOptions(inputs=SPEC if kind != "exported" else (), arch=arch if kind == "state" else None),
        )


def test_nan_weights_are_named(net: Any) -> None:
    net.head.weight.data[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"'head\.weight' holds 1 NaN of 8"):
        load(net, LoadOptions(inputs=SPEC))


def test_what_cannot_be_traced_names_the_users_line() -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.sum() > 0:  # the line to name
                return x
            return -x

    with pytest.raises(UserError, match=r"test_load.py:\d+: if x.sum\(\) > 0"):
        load(Branch(), LoadOptions(inputs=SPEC))


def test_a_model_exported_in_training_mode_is_refused(net: Any) -> None:
    exported = torch.export.export(net.train(), (torch.randn(2, 3, 8, 8),))
    with pytest.raises(UserError, match=r"training mode|its own state") as caught:
        load(exported)
    assert "eval()" in str(caught.value.hint)


def test_outputs_are_named_after_their_place() -> None:
    class Many(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            return {"logits": x, "hidden": (x * 2, None, 3, x * 3)}

    loaded = load(Many(), LoadOptions(inputs=SPEC))
    assert loaded.program.output_names == ("logits", "hidden_0", "hidden_2", "hidden_3")


def test_an_archive_with_operators_of_ours_is_read_by_a_process_that_called_none(tmp_path: Path) -> None:
    from edgeopt.ops.soft_attention import soft_attention

    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return soft_attention(x, x[:, :, ::2], x)

    torch.export.save(torch.export.export(Attention(), (torch.zeros(1, 1, 4, 2),)), tmp_path / "model.pt2")
    code = f"from edgeopt.frontend.load import load; print(load({str(tmp_path / 'model.pt2')!r}).program.text())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "soft_attention" in found.stdout
