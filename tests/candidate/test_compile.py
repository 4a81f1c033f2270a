"""What is judged is what is shipped: gate, search and profitability compile exactly what an export writes."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.candidate.profitability import TargetTimer
from edgeopt.ir.context import EMPTY, TIMER
from edgeopt.ir.program import Program
from edgeopt.passes.substitution.linear_attention import LinearAttention
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.target import Artifact, Session, Target, TargetOptions
from edgeopt.plugins.testing import to_program
from edgeopt.targets.reference import Reference
from edgeopt.targets.tensorrt.gpu import cuda, sdk
from tests.qemu import skip_without_qemu
from tests.targets.tensorrt import stand_in_gpu
from tests.typed import savez

WIDTH = 16
DEVICES = ("onnx", "openvino", "host-c", "cortex-m55", "jetson", "tensorrt", "rtx")


class Wide(nn.Module):
    """Linears around activations of some ten thousands: squares of them, where the target has floats, leave FP16."""

    def __init__(self, squared: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.squared = squared

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = 3000 * self.first(x)
        return self.second(wide * wide / 1e6 if self.squared else wide)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Stand-ins for TensorRT and the CUDA runtime."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", stand_in_gpu.module())
        patch.setattr(cuda, "LIBRARIES", (stand_in_gpu.cuda_runtime(tmp_path_factory.mktemp("cudart")),))
        patch.setattr(sdk, "gpu", lambda: sdk.Gpu("NVIDIA H200", "9.0", "1980", "580.1"))
        yield


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Digests of everything that is compiled for an export, in order: of the bytes, and of the outputs."""
    made: list[str] = []
    compiling = Target.compile
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def recording(self: Target, program: Program, folder: Path, options: TargetOptions, samples: Any) -> Artifact:
        artifact = compiling(self, program, folder, options, samples)
        made.append(digest(artifact, folder, self.open(folder, options)))
        return artifact

    monkeypatch.setattr(Target, "compile", recording)
    return made


def digest(artifact: Artifact, folder: Path, session: Session) -> str:
    content = hashlib.sha256()
    for name in artifact.files:
        content.update(name.encode() + (folder / name).read_bytes())
    with closing(session):
        for name, array in session.run(sample()).items():
            content.update(name.encode() + array.tobytes())
    return content.hexdigest()


def sample(rows: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((rows, WIDTH)).astype(np.float32)}


def export(folder: Path, device: str, **options: Any) -> edgeopt.Run:
    torch.manual_seed(0)
    savez(folder / "calib.npz", sample(8))
    given = {"precision": "int8", "calib": str(folder / "calib.npz"), "baseline": False}
    given |= {"recover": (), "max_runs": 1, "warmup": 0}
    model = Wide(squared=not device.startswith(("host", "cortex"))).eval()
    return edgeopt.export(model, device, folder / "out", inputs=sample(), **{**given, **options})


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("device", DEVICES)
def test_the_gate_judges_what_is_shipped(device: str, artifacts: list[str], tmp_path: Path) -> None:
    skip_without_qemu("host-c" if not device.startswith("cortex") else device)
    if not (probe := resolve(device).probe()).found:
        pytest.skip(str(probe.install))
    run = export(tmp_path, device, max_error=0.1)
    assert run.error is not None and run.quantization is not None
    *judged, shipped = artifacts
    attempts = run.quantization.attempts
    assert len(attempts) == len(judged)
    held = [index for index, attempt in enumerate(attempts) if attempt.ok]
    assert held and shipped in {judged[index] for index in held}
    assert attempts[judged.index(shipped)].error == run.error.relative


def test_the_search_measures_what_is_shipped(artifacts: list[str], tmp_path: Path) -> None:
    run = export(tmp_path, "host-c", precision="auto", format=("int8", "int4"), max_error=0.2)
    *tried, shipped = artifacts
    assert run.error is not None and run.search is not None
    assert shipped in tried
    assert run.search.trials[run.search.chosen].error.relative == run.error.relative


def test_profitability_is_measured_on_observed_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Attention(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(q, k, v)

    seen: list[list[tuple[int, ...]]] = []

    def observe(self: Reference, lowered: Any, samples: Any, options: Any) -> Any:
        seen.append([array.shape for sample in samples for array in sample.values()])
        return lowered

    monkeypatch.setattr(Reference, "observe", observe)
    target = resolve("reference")
    program = to_program(Attention(), [torch.zeros(1, 2, 8, 4)] * 3)
    LinearAttention("relu", force=False)(program, EMPTY.adding(TIMER, TargetTimer(target, target.Options())))
    assert seen == [[(1, 2, 8, 4)] * 3] * 2


def test_nothing_else_compiles_for_a_target() -> None:
    """A second way to an artifact would be one that is judged and not shipped, or shipped and not judged."""
    package = Path(edgeopt.__file__).parent
    callers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "compile" and getattr(node.value, "id", "") != "re"
    }
    assert callers == {"candidate/compile.py", "plugins/testing.py"}


def test_a_target_keeps_nothing_between_calls(tmp_path: Path) -> None:
    """Lowering, observing or compiling one program leaves no trace in what comes of another."""
    for device in ("openvino", "host-c", "jetson"):
        target = resolve(device)
        before = dict(vars(target))
        program = to_program(Wide(squared=False), (torch.zeros(1, WIDTH),))
        target.lower(program, target.Options(**{**target.device.options}))
        assert vars(target) == before
