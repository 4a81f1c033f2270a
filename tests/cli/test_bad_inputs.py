"""Bad input ends in exit code 2 and two lines, one of fact and one of remedy, and leaves nothing behind."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.cli import main
from edgeopt.deploy.bundle import file_entry
from tests.cli.bad_files import write_arrays, write_oddities, write_ranges, write_texts


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x).relu()


class Halves(nn.Module):
    """Halves rows and repeats them: takes four or five values alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.avg_pool1d(x, 2).repeat(1, 2))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.head(x + y)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with models, samples and other files, good and bad."""
    path = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    net, x = Net().eval(), torch.ones(1, 4)
    torch.export.save(torch.export.export(net, (x,)), path / "model.pt2")
    torch.export.save(torch.export.export(Two().eval(), (x, x.clone())), path / "two.pt2")
    torch.save(net, path / "pickled.pt")
    torch.save(net.state_dict(), path / "state.pt")
    torch.save({"model": net.state_dict(), "epoch": 3}, path / "training.pt")
    torch.save({"a": net, "b": net}, path / "modules.pt")
    torch.save([1, 2], path / "list.pt")
    torch.jit.script(net).save(path / "scripted.ts")
    torch.jit.script(Halves().eval()).save(path / "halves.ts")
    write_texts(path)
    write_arrays(path)
    write_ranges(path)
    write_oddities(path)
    (path / "file").touch()
    (path / "dumped").mkdir()
    (path / "dumped" / "01-notes.txt").write_text("years of work")
    edgeopt.export(str(path / "model.pt2"), "reference", path / "bundle", baseline=False, max_seconds=0.1)
    shutil.copytree(path / "bundle", path / "changed")
    (path / "changed" / "model.pt2").write_text("changed by hand")
    shutil.copytree(path / "bundle", path / "deep")
    (path / "deep" / "manifest.json").write_text("[" * 100_000)
    return path


STATE, PICKLED, MODEL = ("state.pt", "--input", "x:1x4"), ("pickled.pt", "--trust"), ("model.pt2",)


def cases() -> Iterator[Any]:
    """Yield the arguments, without the command, and words of the error."""
    yield from _architectures()
    yield from _inputs()
    yield from _models_and_outputs()
    yield from _options()
    yield from _data()


def _architectures() -> Iterator[Any]:
    said = {
        "raises": "no such width",
        "missing_key": "KeyError: 'width'",
        "divides": "division by zero",
        "opens": "/absent/weights",
        "ends": "the end",
        "imports": "No module named 'absent_package'",
        "exits": "SystemExit: 3",
        "exits_at_import": "SystemExit: 0",
        "broken": "invalid syntax",
        "pair": "returns an object of type tuple",
        "table": "returns an object of type dict",
        "nothing": "returns an object of type NoneType",
        "wants": "'width'",
        "other": "'state.pt' does not fit",
    }
    yield from (((*STATE, "--arch", f"arch_{name}:make"), words) for name, words in said.items())
    for arch in ("", ":", "arch_raises", "arch_raises:", ":make", ".x:make"):
        yield (*STATE, "--arch", arch), "names no factory"
    for arch in ("absent:make", "a b:make", "arch_raises:absent"):
        yield (*STATE, "--arch", arch), f"--arch {arch} fails"


def _inputs() -> Iterator[Any]:
    for name, kind in (("texts", "<U1"), ("times", "datetime64"), ("records", "f4"), ("longdouble", "float128")):
        yield (*MODEL, "--sample", f"{name}.npz"), kind
        yield (*PICKLED, "--sample", f"{name}.npz"), kind
    yield (*MODEL, "--sample", "objects.npz"), "objects.npz"
    yield (*MODEL, "--sample", "doubles.npz"), "float64"
    yield (*MODEL, "--sample", "hollow.npz"), "shape 0x4"
    yield ("halves.ts", "--input", "x:1x4", "--dynamic", "x:1=4..8"), "the model fails at size 8"
    yield ("scripted.ts", "--input", "x:1x3"), "cannot be traced"
    yield (*PICKLED, "--input", "x:1x4", "--dynamic", "x:0=1..9999999999"), "a size that no dimension can have"
    yield (*MODEL, "--sample", "none.npz"), "holds no array"
    yield (*MODEL, "--sample", "."), "'.'"
    yield ("two.pt2", "--sample", "one.npy"), "one array without a name"
    yield (*PICKLED, "--input", "x:1000000x300000"), "1,118 GiB"
    yield (*PICKLED, "--input", "x:99999999999999999999"), "GiB"
    for kind in ("quint8", "qint8", "uint4", "bits8", "float8_e4m3fn"):
        yield (*PICKLED, "--input", f"x:1x4:{kind}"), kind
    yield (*PICKLED, "--input", "x:1x4:int64"), "'linear' (aten.linear)"
    yield (*PICKLED, "--input", "x:1x5"), "cannot be traced at"
    yield (*PICKLED, "--input", "x:1x4", "--dynamic", "x:1=1..4"), "fixes dimension 1 of input 'x' at 4"
    yield (*PICKLED, "--input", "x:1x4", "--dynamic", "x:5=1..4"), "no dimension 5"
    yield (*PICKLED, "--input", "x:1x4", "--dynamic", "x:0=2..4"), "size 1 in dimension 0, outside of 2..4"


def _models_and_outputs() -> Iterator[Any]:
    yield ("training.pt", "--input", "x:1x4"), "holds model (2 tensors) and no architecture"
    yield ("modules.pt", "--trust", "--input", "x:1x4"), "it is not clear which is the model: a, b"
    yield ("list.pt",), "holds a list"
    yield ("plain.pkl", "--trust"), "torch.save did not write"
    yield ("loop",), "'loop' does not exist"
    yield ("pipe",), "'pipe' is not a regular file"
    yield ("",), "'MODEL' is empty"
    yield (*MODEL, "-o", ""), "is empty"
    yield ("scripted.ts", "--arch", "arch_other:make", "--input", "x:1x4"), "--arch is given, and 'scripted.ts' is a"
    yield ("hugging",), "holds no weights"
    yield ("model.onnx",), "ONNX"
    yield ("model.tflite",), "LiteRT"
    yield ("model.h5",), "Keras"
    yield ("n" * 300,), "File name too long"
    for output in (".", "..", "/", "file/out", "n" * 300, "file", "loop"):
        yield (*MODEL, "-o", output), f"'{output}'"
    yield (*MODEL, "--dump", "file"), "--dump 'file' is not a folder"


def _options() -> Iterator[Any]:
    yield (*MODEL, "--seed", "-1"), "seed is -1"
    yield (*MODEL, "--warmup", "-1"), "warmup is -1"
    yield (*MODEL, "--max-seconds", "0"), "max-seconds is 0.0"
    yield (*MODEL, "--max-error", "nan"), "'max_error' is NaN"
    yield (*MODEL, "--config", "texts.toml"), "'samples' is 'many'"
    yield (*MODEL, "--config", "parts.toml"), "'limits' is 7"
    yield (*MODEL, "--config", "reading.toml"), "holds 'sample'"
    yield (*MODEL, "--config", "lists.toml"), "'threads' is [1]"
    yield (*MODEL, "--config", "booleans.toml"), "'samples' is True"
    yield (*MODEL, "--config", "no.toml"), "'baseline' is 'no'"
    yield (*MODEL, "--config", "model.toml"), "'model', which is not an option"
    yield (*MODEL, "--config", "steps.toml"), "'on_progress', which is not an option"
    yield (*MODEL, "--config", "table.toml"), "holds the table [export]"
    yield (*MODEL, "--bogus", "3"), "no option '--bogus'"
    yield (*MODEL, "--binary-steps", "3"), "no layer may be binary"
    yield (*MODEL, "--max-drop", "5%", "--data", "absent.npz"), "'absent.npz' does not exist"
    yield (*MODEL, "--max-drop", "5%%", "--data", "absent.npz"), "'5%%' is not a share"
    yield (*MODEL, "--recipe", "absent.toml"), "'absent.toml' does not exist"
    yield (*MODEL, "--recipe", "recipe.toml"), "'recipe.toml' is not TOML"
    yield (*MODEL, "--config", "deep.toml"), "not a readable TOML"
    yield (*MODEL, "two.pt2"), "'two.pt2' is one argument too many"
    yield (*MODEL, "--sample", "file"), "'file' is neither an .npz nor an .npy file"
    yield (*MODEL, "--config", "absent.toml"), "(No such file or directory)"
    yield (*MODEL, "--samples", "3", "--samples", "4"), "option '--samples' is given more than once"
    yield (*MODEL, "--baseline", "--no-baseline"), "option '--baseline' or '--no-baseline' is given more than once"
    yield (*PICKLED, "--input", "x:1x4", "--input", "x:2x4"), "'x' more than once"


def _data() -> Iterator[Any]:
    yield (*MODEL, "--ranges", "swapped.json"), "from 2 to 1"
    yield (*MODEL, "--ranges", "huge.json"), "from 0 to 1e+300"
    yield (*MODEL, "--ranges", "short.json"), "gives 'linear' {'low': 0, 'high': 1}, not a range"
    yield (*MODEL, "--ranges", "empty.json"), "holds no range of any tensor"
    yield (*MODEL, "--calib", "absent.npz"), "'absent.npz' does not exist"
    yield (*MODEL, "--data", "labels_negative.npz"), "label -1, and the first output has 2 classes"
    yield (*MODEL, "--data", "labels_large.npz"), "label 2, and the first output has 2 classes"
    yield (*MODEL, "--data", "labels_pairs.npz"), "shape 3x2"
    yield (*MODEL, "--data", "labels_floats.npz"), "float64"
    yield (*MODEL, "--data", "labels_texts.npz"), "<U1"
    yield (*MODEL, "--data", "labels_short.npz"), "2 labels for 3 samples"
    yield (*MODEL, "--data", "labels_number.npz"), "labels"


@pytest.mark.parametrize(("arguments", "words"), cases(), ids=lambda value: " ".join(value)[:60] or "-")
def test_exports(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Any, words: str
) -> None:
    output = () if {"-o", "--output"} & set(arguments) else ("-o", "out/new")
    fact, _ = failed(folder, monkeypatch, capsys, "export", *output, *arguments, "--target", "reference")
    assert words in fact


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "absent"),
        ("report", "bundle", "--html", "a.html", "--html", "b.html"),
        ("report", "file"),
        ("report", "absent", "--html", "file/report.html"),
        ("report", "absent", "--html", "hugging"),
        ("report", "bundle/report.json"),
        ("calibrate", "model.pt2", "--data", "one.npy", "--check", "swapped.json", "--drift", "nan"),
        ("calibrate", "model.pt2", "--data", "one.npy", "--check", "swapped.json", "--drift", "inf"),
        ("calibrate", "model.pt2", "--data", "one.npy", "--drift", "5%"),
        ("calibrate", "model.pt2", "--data", "one.npy", "--junit", "junit.xml"),
        ("export", "model.pt2", "--target", "nope"),
        ("verify", "absent"),
        ("bench", "absent"),
        ("calibrate", "model.pt2", "--data", "one.npy", "-o", "hugging"),
        ("calibrate", "model.pt2", "--data", "one.npy", "--junit", "file/junit.xml"),
        ("calibrate", "model.pt2", "--data", "absent"),
        ("calibrate", "model.pt2", "--data", "one.npy", "--check", "absent"),
        ("report", "bundle", "--html", "model.pt2"),
        ("report", "bundle", "--html", "bundle/golden.npz"),
        ("calibrate", "model.pt2", "--data", "one.npy", "-o", "model.pt2"),
        ("calibrate", "model.pt2", "--data", "one.npy", "--junit", "bundle/report.html"),
        ("export", "model.pt2", "--dump", "dumped", "-o", "out/new", "--target", "reference"),
        ("export", "bundle/model.pt2", "-o", "bundle", "--target", "reference"),
        ("export", "model.pt2", "-o", "bundle", "--sample", "bundle/golden.npz", "--target", "reference"),
        ("export", "model.pt2", "-o", "bundle", "--ranges", "bundle/ranges.json", "--target", "reference"),
        ("export", "model.pt2", "-o", "changed", "--target", "reference"),
        ("export", "model.pt2", "--config", "target.toml"),
        ("calibrate", "model.pt2", "--data", "items:make", "--trust"),
        ("calibrate", "model.pt2", "--data", "items:fails", "--trust"),
        ("bench", "changed"),
        ("verify", "deep"),
        ("inspect", "absent"),
        ("explain", ""),
    ],
    ids=" ".join,
)
def test_other_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Any
) -> None:
    failed(folder, monkeypatch, capsys, *arguments)


def verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(folder)])
    return ended.value.code, capsys.readouterr().out


def test_verify_believes_no_manifest_that_excuses_the_outputs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    assert verified(bundle, capsys)[0] == 0
    manifest = json.loads((bundle / "manifest.json").read_text())
    golden = dict(np.load(bundle / "golden.npz"))
    np.savez(bundle / "golden.npz", **{name: array + name.startswith("output.") for name, array in golden.items()})
    entries = [file for file in manifest["files"] if file["path"] != "golden.npz"]
    manifest["files"] = [*entries, file_entry(bundle, "golden.npz")]
    for excuse in ({"bound": 1e9}, {"not_run": "no device"}):
        changed = {**manifest, "golden": {**manifest["golden"], **excuse}}
        (bundle / "manifest.json").write_text(json.dumps(changed))
        code, out = verified(bundle, capsys)
        assert code == 1 and "(bound 1e-04)" in out


def relisted(bundle: Any, keep: Any) -> None:
    """Write the golden arrays that ``keep`` takes, and their hash into the manifest."""
    golden = dict(np.load(bundle / "golden.npz"))
    np.savez(bundle / "golden.npz", **{name: array for name, array in golden.items() if keep(name)})
    manifest = json.loads((bundle / "manifest.json").read_text())
    entries = [file for file in manifest["files"] if file["path"] != "golden.npz"]
    manifest["files"] = [*entries, file_entry(bundle, "golden.npz")]
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_verify_misses_golden_outputs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    relisted(bundle, lambda name: name.startswith("input."))
    code, out = verified(bundle, capsys)
    assert code == 1 and "nothing could be compared: output 'output': golden.npz does not hold it" in out


def test_verify_misses_one_golden_output_of_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return x + 1, x * 2

    sample = {"x": np.ones((1, 2), np.float32)}
    edgeopt.export(Pair(), output=tmp_path / "out", inputs=sample, target="reference", max_seconds=0.2, warmup=1)
    assert verified(tmp_path / "out", capsys)[0] == 0
    relisted(tmp_path / "out", lambda name: name != "output.output_1")
    code, out = verified(tmp_path / "out", capsys)
    assert code == 1 and "FAILED: output 'output_1': golden.npz does not hold it" in out


@pytest.mark.parametrize("change", [{"files": []}, {"artifact": []}])
def test_verify_wants_a_hash_of_all_that_the_artifact_consists_of(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any
) -> None:
    bundle = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | change))
    assert verified(bundle, capsys)[0] == 2


def test_verify_tells_of_a_report_that_cannot_be_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    spoilers: tuple[Callable[[Path], object], ...] = (lambda file: file.write_text("garbage"), Path.unlink)
    for spoil in spoilers:
        spoil(bundle / "report.json")
        code, out = verified(bundle, capsys)
        assert code == 1 and "report.json" in out


def listed(folder: Path) -> Any:
    return {
        path.relative_to(folder): path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def failed(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: Any) -> Any:
    """Run a command that must fail; return its two sentences."""
    monkeypatch.chdir(folder)
    before = listed(folder)
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == "", err
    lines = [line for line in err.splitlines() if not line.startswith("[")]  # the steps before
    assert len(lines) == 2, err
    assert lines[0].startswith("error: ") and lines[1].startswith("hint: "), err
    assert "fault of edgeopt" not in err and "Traceback" not in err
    assert listed(folder) == before
    return lines[0].removeprefix("error: "), lines[1].removeprefix("hint: ")
