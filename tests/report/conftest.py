"""A hand-made Run in which every part of the record is filled."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from edgeopt.records.latency import Baseline, Latency
from edgeopt.records.layers import Fallback, Layer
from edgeopt.records.limits import Limit
from edgeopt.records.outputs import Error, OutputComparison
from edgeopt.records.passes import Note, PassRecord
from edgeopt.records.run import Accuracy, ArtifactFiles, File, Model, Run, TargetUsed

EQUAL = Error(max_abs=0.0, relative=0.0, sqnr_db=math.inf, cosine=1.0)
LAYERS = (
    ("conv2d_0", "Convolution", 0.071),
    ("conv2d_1", "Convolution", 0.213),
    ("conv2d_2", "Convolution", 0.209),
    ("conv2d_3", "Convolution", 0.118),
    ("conv2d_4", "Convolution", 0.192),
    ("conv2d_5", "Convolution", 0.021),
    ("conv2d_6", "Convolution", 0.104),
    ("conv2d_7", "Convolution", 0.187),
    ("conv2d_8", "Convolution", 0.019),
    ("mean", "Pooling", 0.006),
    ("linear", "FullyConnected", 0.004),
    ("softmax", "Softmax", 0.003),
)


def _error(relative: float, sqnr_db: float) -> Error:
    return Error(max_abs=relative * 0.98, relative=relative, sqnr_db=sqnr_db, cosine=1.0)


def _latency(median: float, seed: int, layers: tuple[Layer, ...] = ()) -> Latency:
    chance = random.Random(seed)
    values = sorted(median * chance.lognormvariate(0, 0.02) for _ in range(400))
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return Latency(
        unit="ms",
        runs=len(values),
        warmup=32,
        threads=1,
        min=values[0],
        mean=mean,
        median=values[200],
        p90=values[360],
        p95=values[380],
        p99=values[396],
        max=values[-1],
        cv=deviation / mean,
        cpu_median=values[200] * 0.99,
        samples=tuple(values),
        layers=layers,
    )


def _layers() -> tuple[Layer, ...]:
    total = sum(median for *_, median in LAYERS)
    return tuple(
        Layer(name=name, type=kind, precision="fp32", median=median, share=median / total)
        for name, kind, median in LAYERS
    )


def _passes() -> tuple[PassRecord, ...]:
    refusal = Note(rule="batch-norm-into-conv", node="batch_norm_7", reason="the weight of conv2d_7 is shared")
    return (
        PassRecord(name="remove-noops", kind="exact", changed=False, applied=0, seconds=0.004, error=EQUAL),
        PassRecord(name="fold-constants", kind="exact", changed=False, applied=0, seconds=0.011, error=EQUAL),
        PassRecord(
            name="fold-batch-norm",
            kind="exact",
            changed=True,
            applied=8,
            rules={"batch-norm-into-conv": 8},
            refused=(refusal,),
            seconds=0.052,
            error=_error(2.4e-7, 138.2),
        ),
        PassRecord(
            name="fold-affine",
            kind="exact",
            changed=True,
            applied=1,
            rules={"scale-into-linear": 1},
            seconds=0.013,
            error=_error(2.6e-7, 137.6),
        ),
    )


def limit(name: str, unit: Any, most: float, value: float, **facts: Any) -> Limit:
    """Return a limit; it is the least where its name or unit says so."""
    least = name.startswith("min-") or unit == "dB"
    return Limit(name, "least" if least else "most", unit, most, **facts).judged(value)


_MODEL = Model(
    source="models/resnet8.pt2",
    sha256="9f2c" * 16,
    format="torch.export archive",
    parameters=78666,
    macs=12_501_632,
    inputs=("x:1x3x32x32:float32",),
    outputs=("output:1x10:float32",),
)


def _limits(latency: float) -> tuple[Limit, ...]:
    return (
        limit("max-latency", "latency", 2.0, latency),
        limit("max-size", "bytes", 400_000, 352_357),
        limit("max-error", "ratio", 1e-4, 3.1e-7),
        limit("min-accuracy", "share", 0.87, 0.872),
        limit("default-error", "ratio", 1e-3, 3.1e-7, is_default=True, output="output"),
        limit("default-sqnr", "dB", 60.0, 136.9, is_default=True, output="output"),
    )


def sample_run() -> Run:
    """Return the Run."""
    latency, baseline = _latency(1.148, 1, _layers()), _latency(1.507, 2)
    return Run(
        model=_MODEL,
        target=TargetUsed(
            name="openvino",
            device="cpu",
            precision_requested="fp32",
            precision_executed="fp32",
            hardware="Intel Xeon, 2 cores, AVX-512",
        ),
        passes=_passes(),
        verdict="close",
        error=_error(3.1e-7, 136.9),
        outputs=(
            OutputComparison(
                name="output", form="number", error=_error(3.1e-7, 136.9), elements=30, differing=12, not_finite=0
            ),
        ),
        accuracy=Accuracy(metric="top-1", samples=1000, original=0.872, exported=0.872, agreement=1.0),
        artifact=ArtifactFiles(
            files=(
                File(path="model.xml", bytes=41_213, sha256="1b" * 32),
                File(path="model.bin", bytes=311_144, sha256="c4" * 32),
            ),
            memory={"weights": 311_144, "activations": 131_072},
        ),
        latency=latency,
        baseline=Baseline(latency=baseline, speedup=baseline.median / latency.median),
        fallbacks=(Fallback(node="softmax", op="aten.softmax", reason="runs in fp32: no bf16 kernel", share=0.003),),
        limits=_limits(latency.median),
        warnings=("The latency varies by 3.1 % (CV): close other programs or raise --runs.",),
        notes=("Inference precision was set to f32: the runtime would have chosen bf16.",),
        options={"precision": "fp32", "threads": 1, "baseline": True},
        versions={"edgeopt": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "openvino": "2026.4.1"},
    )


@pytest.fixture
def run() -> Run:
    return sample_run()
