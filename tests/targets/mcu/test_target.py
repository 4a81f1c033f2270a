"""The target mcu: the contract, the C that it prints, and what runs in QEMU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.errors import Unsupported, UserError
from edgeopt.ir.program import Program
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import TargetContract, to_program
from edgeopt.targets.mcu import LIBRARY, Mcu, MicroOptions
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.plan.fuse import fuse_residuals
from edgeopt.targets.mcu.runtime.firmware import Firmware
from edgeopt.targets.mcu.runtime.session import MicroSession
from tests.models import mlperf_tiny
from tests.models.mlperf_tiny import requires_shared
from tests.qemu import requires_qemu, skip_without_qemu

from .quantized import firmware_of, mlperf, quantize
from .test_lower import requires_tvm

DEFAULT = MicroOptions()
CORES = ("host-c", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")


class Small(nn.Module):
    """Every kernel once: convolution with a residual, depthwise, pools, linear, softmax, a table."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.again, self.depthwise = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.gelu(self.stem(image))
        x = torch.relu(self.again(torch.relu(self.inner(x))) + x)
        x = torch.max_pool2d(torch.relu(self.depthwise(x)), 2)
        return torch.softmax(self.head(x.mean((2, 3))), dim=1)


def small() -> Program:
    return quantize(Small(), np.random.default_rng(0).normal(size=(16, 3, 9, 8)).astype(np.float32))


@requires_qemu
class TestMcu(TargetContract):
    target = "mps2-an386"
    bound = 2 / 256  # two steps of the output: sums round ties up, quantize to even

    @classmethod
    def program(cls) -> Program:
        return small()

    @classmethod
    def samples(cls) -> list[dict[str, np.ndarray]]:
        random = np.random.default_rng(1)
        return [{"image": random.normal(size=(1, 3, 9, 8)).astype(np.float32)} for _ in range(2)]


def compiled(program: Program, device: str, folder: Path, options: MicroOptions = DEFAULT) -> Mcu:
    target = resolve(f"mcu:{device}")
    assert isinstance(target, Mcu)
    target.compile(program, folder, options)
    return target


def assert_equals_the_reference(
    program: Program, device: str, x: np.ndarray, folder: Path, options: MicroOptions = DEFAULT
) -> None:
    firmware = firmware_of(compiled(program, device, folder, options), folder)
    source, sink = firmware.network.inputs[0], firmware.network.outputs[0]
    q = source.to_int8(x)
    got = firmware.run({source.name: q}).outputs[sink.name]
    graph = fuse_residuals(lower_program(program)[0])
    for sample, y in zip(q, got, strict=True):
        np.testing.assert_array_equal(graph.run({graph.inputs[0]: sample})[graph.outputs[0]], y)
    firmware.close()


@pytest.mark.parametrize("optimize", ["speed", "size"])
@pytest.mark.parametrize("device", CORES)
def test_library_equals_the_integer_reference(device: str, optimize: str, tmp_path: Path) -> None:
    skip_without_qemu(device)
    x = np.random.default_rng(2).normal(size=(4, 3, 9, 8)).astype(np.float32)
    assert_equals_the_reference(small(), device, x, tmp_path, MicroOptions(optimize=optimize))


class Mixed(nn.Module):
    """Kernels, and between them what only TVM compiles: norms, a dilated convolution, a gate, an enlargement."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)
        self.dilated, self.head = nn.Conv2d(4, 8, 3, dilation=2), nn.Conv2d(8, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.dilated(torch.relu(self.norm(self.stem(image)))))
        gated = x * torch.sigmoid(x.mean(1, keepdim=True))
        return self.head(nn.functional.interpolate(gated, scale_factor=2.0))


@requires_tvm
@pytest.mark.parametrize("device", ["host-c", "cortex-m4", "cortex-m55"])
def test_generated_code_runs_beside_kernels(device: str, tmp_path: Path) -> None:
    skip_without_qemu(device)
    samples = np.random.default_rng(0).normal(size=(8, 3, 9, 8)).astype(np.float32)
    program = quantize(Mixed(), samples)
    target = resolve(f"mcu:{device}")
    artifact = target.compile(program, tmp_path, MicroOptions())
    assert {"aten.group_norm", "aten.conv2d"} <= {op for f in artifact.fallbacks for op in f.op.split(", ")}
    assert "TVM" not in (tmp_path / LIBRARY / "network.c").read_text()
    session = target.open(tmp_path, MicroOptions())
    assert isinstance(session, MicroSession)
    for x in samples[:3]:
        expected = program.run({"image": x[None]})[program.output_names[0]]
        got = session.run({"image": x[None]})[program.output_names[0]]
        step = session.firmware.network.outputs[0].scale
        assert np.abs(got - expected).max() <= 1.001 * step
    assert {layer.precision for layer in session.layers({"image": samples[:1]}, 1)} == {"int8", "fp32"}
    session.close()


@requires_shared
@requires_qemu
@pytest.mark.slow
@pytest.mark.parametrize("device", ["mps2-an386", "mps3-an547"])
@pytest.mark.parametrize("name", mlperf_tiny.NAMES)
def test_mlperf_tiny_equals_the_integer_reference(name: str, device: str, tmp_path: Path) -> None:
    assert_equals_the_reference(mlperf(name), device, mlperf_tiny.example_inputs(name, 3), tmp_path)


@requires_shared
@requires_qemu
@pytest.mark.slow
def test_keywords_in_qemu_reach_the_accuracy_of_the_program(tmp_path: Path) -> None:
    x, labels = mlperf_tiny.kws01()
    x, labels = x[64:264], labels[64:264]  # behind the samples of the calibration
    program = mlperf("ds_cnn")
    target = compiled(program, "mps2-an386", tmp_path)
    session = target.open(tmp_path, MicroOptions())
    got = session.run({program.inputs[0].name: x})[program.output_names[0]]
    expected = np.concatenate([program.run({program.inputs[0].name: s[None]})[program.output_names[0]] for s in x])
    session.close()
    assert np.mean(got.argmax(1) == labels) == np.mean(expected.argmax(1) == labels) > 0.88


@requires_qemu
def test_counts_are_the_same_on_every_run(tmp_path: Path) -> None:
    compiled(small(), "mps2-an386", tmp_path)
    board = resolve("mcu:mps2-an386").device
    x = np.zeros((1, 9, 8, 3), np.int8)
    runs = []
    for _ in range(2):
        firmware = Firmware(tmp_path / LIBRARY, board, "cortex-m4", profile=True)
        measured = firmware.run({"image": x})
        runs.append((measured.ticks, measured.layer_ticks, measured.stack_bytes))
        firmware.close()
    assert runs[0] == runs[1]
    assert 0 < runs[0][2] < 1024
    assert sum(runs[0][1]) == pytest.approx(runs[0][0], rel=0.02)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_library_compiles_without_a_warning_on_the_host(compiler: str, tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    compiled(small(), "host-c", tmp_path)
    for source in (tmp_path / LIBRARY).glob("*.c"):
        command: list[str | Path] = [
            compiler,
            "-std=c99",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-c",
            source,
            "-o",
            "/dev/null",
        ]
        subprocess.run(command, check=True)


@requires_qemu
def test_library_refuses_to_compile_without_optimization_or_for_a_lesser_core(tmp_path: Path) -> None:
    compiled(small(), "cortex-m4", tmp_path)
    base: list[str | Path] = [
        "arm-none-eabi-gcc",
        "-std=c99",
        "-mthumb",
        "-c",
        tmp_path / LIBRARY / "network.c",
        "-o",
        "/dev/null",
    ]
    for flags, reason in ((["-mcpu=cortex-m4", "-O0"], "-O2"), (["-mcpu=cortex-m3", "-O2"], "DSP")):
        done = subprocess.run([*base, *flags], capture_output=True, text=True, check=False)
        assert done.returncode and reason in done.stderr


@requires_qemu
def test_library_has_no_state_and_calls_only_memory_functions(tmp_path: Path) -> None:
    target = compiled(small(), "cortex-m4", tmp_path)
    memory = target.compile(small(), _empty(tmp_path / "again"), MicroOptions()).memory
    assert memory["code"] < 24 * 1024
    done = subprocess.run(
        ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-O2", "-r", "-nostdlib", "-o", tmp_path / "all.o",
         *(tmp_path / LIBRARY).glob("*.c")], check=True,
    )  # fmt: skip
    assert done.returncode == 0
    symbols = subprocess.run(
        ["arm-none-eabi-nm", tmp_path / "all.o"], capture_output=True, text=True, check=True
    ).stdout
    kinds = {line.split()[-2] for line in symbols.splitlines()}
    assert not kinds & {"B", "b", "D", "d", "C"}
    undefined = {line.split()[-1] for line in symbols.splitlines() if line.split()[-2] == "U"}
    assert undefined <= {"memcpy", "memset"}


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_balanced_spends_flash_only_up_to_the_device(tmp_path: Path) -> None:
    sizes = {}
    for mode in ("size", "balanced", "speed"):
        target = resolve("mcu:cortex-m4")
        sizes[mode] = target.compile(small(), _empty(tmp_path / mode), MicroOptions(optimize=mode)).memory["weights"]
    assert sizes["size"] < sizes["balanced"] == sizes["speed"]


@requires_qemu
def test_external_weights_leave_the_flash_and_change_no_byte(tmp_path: Path) -> None:
    target = resolve("mcu:mps2-an386")
    plain = target.compile(small(), _empty(tmp_path / "plain"), MicroOptions()).memory
    options = MicroOptions(external_weights=".qspi")
    memory = target.compile(small(), _empty(tmp_path / "external"), options).memory
    assert memory["external"] == plain["weights"]
    assert plain["flash"] - memory["flash"] >= plain["weights"] - 64  # a pool's two numbers stay with the code
    x = {"image": np.random.default_rng(3).normal(size=(2, 3, 9, 8)).astype(np.float32)}
    outputs = []
    for folder in ("plain", "external"):
        session = target.open(tmp_path / folder, options)
        outputs.append(session.run(x))
        session.close()
    for name, expected in outputs[0].items():
        np.testing.assert_array_equal(outputs[1][name], expected)


def test_a_section_that_is_no_name_is_refused() -> None:
    with pytest.raises(UserError, match="external-weights is 'qspi flash'"):
        resolve("stm32f746").check_options(MicroOptions(external_weights="qspi flash"))


def test_float_programs_are_refused_with_all_reasons(tmp_path: Path) -> None:
    program = to_program(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU()), (torch.ones(1, 3, 8, 8),))
    with pytest.raises(Unsupported, match=r"cannot place") as caught:
        resolve("stm32f746").compile(program, tmp_path, MicroOptions())
    assert {p.op for p in caught.value.placements} >= {"aten.conv2d", "aten.gelu", "output"}
    assert not list(tmp_path.iterdir())


def test_an_unknown_optimization_is_refused() -> None:
    with pytest.raises(UserError, match="optimize is 'fast'"):
        resolve("stm32f746").check_options(MicroOptions(optimize="fast"))


@requires_qemu
def test_what_the_device_lacks_is_a_limit(tmp_path: Path) -> None:
    wide = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 4, 3))
    program = quantize(wide, np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))
    artifact = resolve("mcu:cortex-m0plus").compile(program, tmp_path, MicroOptions())
    assert artifact.memory["ram"] > artifact.capacity["ram"] == 32 * 1024
    assert artifact.memory["flash"] < artifact.capacity["flash"]
