"""The script of a Jetson's bundle, end to end, with stand-ins for what the device has."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import edgeopt
from edgeopt.cli import main
from edgeopt.deploy.bundle import read_report, verify
from tests.targets.tensorrt.fake_device import FakeDevice
from tests.targets.tensorrt.models import LinearVit, Mlp
from tests.targets.tensorrt.onnx_rules import refusals_of

RELEASES = [("jetson-orin", "6.2", "6.2+b77", "10.3"), ("jetson-thor", "7.1", "7.1-b1", "10.13")]
RELEASES += [("jetson-orin", "7.2.2", "7.2.2", "11.4")]
SCRIPT = "build_on_device.sh"

Bundles = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Export once for each device and release: a model with a plug-in, or one with a dynamic batch."""

    @cache
    def export(target: str = "jetson", jetpack: str = "6.2", dynamic: bool = False) -> Path:
        folder = tmp_path_factory.mktemp("bundle") / "out"
        batch = torch.export.Dim("batch", min=1, max=8)
        model = torch.export.export(Mlp(), (torch.randn(2, 64),), dynamic_shapes=({0: batch},))
        if dynamic:
            edgeopt.export(model, target, folder, jetpack=jetpack)
        else:
            inputs = {"x": torch.randn(1, 3, 8, 8)}
            edgeopt.export(LinearVit().eval(), target, folder, jetpack=jetpack, inputs=inputs)
        assert [said for path in folder.glob("*.onnx") for said in refusals_of(path)] == []
        return folder

    return export


@pytest.fixture
def own(exported: Bundles, tmp_path: Path) -> Bundles:
    """Copies of bundles, for the script writes into them."""
    return lambda *which, **more: shutil.copytree(exported(*which, **more), tmp_path / "bundle")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_no_complaint(exported: Bundles) -> None:
    subprocess.run(["shellcheck", exported() / SCRIPT, exported(dynamic=True) / SCRIPT], check=True)


@pytest.mark.parametrize(("target", "jetpack", "found", "tensorrt"), RELEASES)
def test_builds_measures_and_checks(
    own: Bundles, target: str, jetpack: str, found: str, tensorrt: str, tmp_path: Path
) -> None:
    bundle = own(target, jetpack)
    device = FakeDevice(tmp_path / "device", tensorrt, found)
    done = device.run(bundle)
    assert done.returncode == 0, done.stderr
    flags = device.flags
    assert flags["--onnx"] == "model_plugins.onnx"
    assert flags["--dynamicPlugins"] == "plugins/build/libedgeopt_plugins.so"
    assert flags["--timingCacheFile"] == "timing.cache" and flags["--profilingVerbosity"] == "detailed"
    before_11 = tensorrt.startswith("10.")
    for flag in ("--stronglyTyped", "--useCudaGraph", "--noDataTransfers"):
        assert (flag in flags) is before_11
    assert not {"--fp16", "--int8", "--fp8", "--best"} & set(flags)
    architecture = "110" if target == "jetson-thor" else "87"
    assert f"-DCMAKE_CUDA_ARCHITECTURES={architecture}" in (device.folder / "cmake.log").read_text()
    told = json.loads((bundle / "measured" / "device.json").read_text())
    assert told["tensorrt"] == tensorrt and told["cuda_graph"] is True and told["data_transfers"] is False
    check = json.loads((bundle / "measured" / "check.json").read_text())
    assert check["ok"] and check["relative"] == {"output": 0.0}
    assert (bundle / "timing.cache").is_file()
    files = sorted(map(str, (bundle / "measured").glob("*.json")))
    with pytest.raises(SystemExit) as ended:
        main(["report", str(bundle), "--import", *files])
    assert ended.value.code == 0
    run = read_report(bundle)
    assert run.latency is not None and run.latency.runs == 100 and len(run.latency.layers) == 3
    assert run.versions["tensorrt"] == tensorrt and verify(bundle).ok


def test_dynamic_inputs_have_a_profile(own: Bundles, tmp_path: Path) -> None:
    device = FakeDevice(tmp_path / "device", "10.3", "6.2")
    assert device.run(own(dynamic=True)).returncode == 0
    shapes = [device.flags[f"--{which}Shapes"] for which in ("min", "opt", "max")]
    assert shapes == ["x:1x64", "x:8x64", "x:8x64"] and device.flags["--shapes"] == "x:2x64"


def test_bodies_alone_need_no_compiler(own: Bundles, tmp_path: Path) -> None:
    device = FakeDevice(tmp_path / "device", "10.3", "6.2", has_nvcc=False)
    assert device.run(own(), "--bodies").returncode == 0
    assert device.flags["--onnx"] == "model.onnx" and "--dynamicPlugins" not in device.flags


def test_wrong_outputs_end_with_1(own: Bundles, tmp_path: Path) -> None:
    done = FakeDevice(tmp_path / "device", "10.3", "6.2").run(own(), off_by=3.0)
    assert done.returncode == 1 and "DISAGREES" in done.stdout


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tensorrt": "10.3", "jetpack": "6.0"}, "JetPack is 6.0, this bundle was made for 6.2"),
        ({"tensorrt": "10.3", "jetpack": ""}, "this machine is not a Jetson"),
        ({"tensorrt": "10.3", "jetpack": "6.2", "has_nvcc": False}, "nvcc was not found"),
        ({"tensorrt": "10.3", "jetpack": "6.2", "free_mib": 100}, "100 MiB of memory are free"),
    ],
)
def test_what_is_missing_is_one_error(own: Bundles, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    done = FakeDevice(tmp_path / "device", **settings).run(own())
    assert done.returncode == 2
    assert said in done.stderr and "hint: " in done.stderr
    assert not (tmp_path / "device" / "trtexec.json").exists()


def test_an_old_tensorrt_is_refused(own: Bundles, tmp_path: Path) -> None:
    done = FakeDevice(tmp_path / "device", "10.3", "7.1").run(own("jetson-thor", "7.1"))
    assert done.returncode == 2 and "TensorRT is 10.3, this bundle needs 10.13" in done.stderr
