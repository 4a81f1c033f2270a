"""Files that trtexec exports, of the form that its documentation names, read into a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.errors import UserError
from edgeopt.plugins.registry import target_class
from edgeopt.records.limits import Limit
from edgeopt.records.run import ArtifactFiles, Model, Run, TargetUsed
from edgeopt.targets.tensorrt import trtexec

DEVICE = {
    "device": "NVIDIA Jetson AGX Orin",
    "jetpack": "6.2",
    "tensorrt": "10.3",
    "power_mode": "MAXN",
    "gpu_clock_mhz": 1300.5,
    "cuda_graph": True,
    "data_transfers": False,
}


def run() -> Run:
    return Run(
        verdict="not run",
        model=Model(source="m.pt2", sha256=None, format="pt2", parameters=1, macs=None),
        target=TargetUsed(name="jetson", device="jetson-orin", precision_requested="int8", precision_executed=None),
        passes=(),
        error=None,
        artifact=ArtifactFiles(files=()),
        limits=(Limit(name="max-latency", direction="most", unit="latency", limit=1.0, value=None, ok=False),),
    )


def times(transfer: float) -> list[dict[str, float]]:
    rows = []
    for index in range(200):
        compute = 0.5 + index / 1000
        stamps = ("startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs")
        row = dict.fromkeys((*stamps, "startD2hMs", "endD2hMs"), float(index))
        rows.append(
            {**row, "h2dMs": transfer, "computeMs": compute, "d2hMs": transfer, "latencyMs": compute + 2 * transfer}
        )
    return rows


PROFILE = [
    {"count": 200},
    {"name": "conv", "timeMs": 60.0, "averageMs": 0.3, "medianMs": 0.29, "percentage": 75.0},
    {"name": "fc", "timeMs": 20.0, "averageMs": 0.1, "medianMs": 0.11, "percentage": 25.0},
]


def layer_info(release: int) -> dict[str, Any]:
    def tensor(name: str, kind: str) -> dict[str, Any]:
        spelled = (
            {"Format/Datatype": f"Row major linear {kind}"} if release == 10 else {"Format": "Linear", "Datatype": kind}
        )
        return {"Name": name, "Dimensions": [1, 8], **spelled}

    facts = {"TacticName": "t", "StreamId": 0, "Metadata": ""}
    return {
        "Layers": [
            {
                "Name": "conv",
                "LayerType": "Conv",
                "Inputs": [tensor("x", "Int8")],
                "Outputs": [tensor("y", "Half")],
                **facts,
            },
            {
                "Name": "fc",
                "LayerType": "Gemm",
                "Inputs": [tensor("y", "Half")],
                "Outputs": [tensor("z", "FP32")],
                **facts,
            },
        ],
        "Bindings": ["x", "z"],
    }


def write(folder: Path, **contents: Any) -> list[Path]:
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return [folder / f"{name}.json" for name in contents]


@pytest.mark.parametrize("release", [10, 11])
def test_times_layers_and_device_are_read(release: int, tmp_path: Path) -> None:
    files = write(tmp_path, a=times(0.0), b=PROFILE, c=layer_info(release), d=DEVICE)
    told = trtexec.merged(run(), trtexec.read(files))
    assert told.latency is not None
    costs = [row["computeMs"] for row in times(0.0)]
    assert told.latency.runs == 200 and told.latency.median == pytest.approx(np.median(costs))
    assert [told.latency.p90, told.latency.p99] == pytest.approx(np.percentile(costs, (90, 99)))
    layers = [(layer.name, layer.type, layer.precision, layer.median) for layer in told.latency.layers]
    assert layers == [("conv", "Conv", "int8", 0.29), ("fc", "Gemm", "fp16", 0.11)]
    assert told.latency.layers[0].share == pytest.approx(0.29 / 0.4)
    assert told.target.hardware == "NVIDIA Jetson AGX Orin (1300.5 MHz, power mode MAXN)"
    assert told.target.precision_executed == "int8 (1), fp16 (1)"
    assert told.limits[0].value == told.latency.median and told.limits[0].ok
    assert "jetpack 6.2, tensorrt 10.3 by trtexec: GPU compute time, with a CUDA graph" in told.notes[-1]
    assert Run.from_json(told.to_json()) == told


def test_transfers_count_where_they_were_made(tmp_path: Path) -> None:
    told = trtexec.merged(run(), trtexec.read(write(tmp_path, a=times(0.25))))
    assert told.latency is not None
    assert told.latency.min == pytest.approx(1.0)
    assert "latency with data transfers" in told.notes[-1]


def test_importing_again_replaces(tmp_path: Path) -> None:
    found = trtexec.read(write(tmp_path, a=times(0.0), e={"relative": {"y": 0.5}, "bound": 0.1, "ok": False}))
    once = trtexec.merged(run(), found)
    assert once == trtexec.merged(once, found)
    assert once.notes[-1] == "measured on the device: golden outputs DISAGREE, 5.0e-01 relative, bound 0.1"


@pytest.mark.parametrize(
    ("content", "said"),
    [("[", "cannot be read"), ('{"a": 1}', "is none of the files"), (json.dumps(PROFILE), "hold no times")],
)
def test_other_files_are_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=said):
        trtexec.read([tmp_path / "x.json"])


def test_measurements_are_read_by_the_target_that_has_them(tmp_path: Path) -> None:
    told = target_class("jetson").measured_elsewhere(run(), write(tmp_path, a=times(0.25)))
    assert told.latency is not None and told.latency.runs == 200
    with pytest.raises(UserError, match="target 'reference' reads no measurements"):
        target_class("reference").measured_elsewhere(run(), [])
