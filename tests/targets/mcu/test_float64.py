"""The C library against torch in float64, layer by layer, to what the arithmetic of each kernel may lose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeopt.ir.program import Program
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import MicroOptions, expected
from tests.qemu import requires_qemu
from tests.typed import fixed_shape

from . import test_target, test_transformer
from .float64 import layers_of, worst
from .test_lower import requires_tvm

PROGRAMS: dict[str, Callable[[], Program]] = {
    "small": test_target.small,
    **{name: lambda name=name: test_transformer.program(name) for name in test_transformer.MODELS},  # type: ignore[misc]
}


def sample(program: Program) -> dict[str, np.ndarray]:
    (spec,) = program.inputs
    return {spec.name: np.random.default_rng(1).normal(size=fixed_shape(spec)).astype(np.float32)}


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("small", "host-c"),
        pytest.param("linear-attention", "host-c", marks=requires_tvm),
        pytest.param("small", "cortex-m55", marks=requires_qemu),
        pytest.param("vit", "cortex-m4", marks=requires_qemu),
    ],
)
def test_every_layer_of_the_library_is_what_float64_says(name: str, device: str, tmp_path: Path) -> None:
    layers = layers_of(PROGRAMS[name]())
    target = resolve(f"mcu:{device}")
    target.compile(layers, tmp_path, MicroOptions())
    session = target.open(tmp_path, MicroOptions())
    x = sample(layers)
    lost = worst(layers, session.run(x), x)
    session.close()
    assert len(lost) >= 6 and max(lost.values()) <= 1, lost


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_layer_of_the_specification_is_what_float64_says(name: str) -> None:
    """The library is equal to the specification bit by bit: test_target.py and test_transformer.py, on all cores."""
    layers = layers_of(PROGRAMS[name]())
    x = sample(layers)
    lost = worst(layers, expected(layers, x), x)
    assert len(lost) >= 6 and max(lost.values()) <= 1, lost


@pytest.mark.parametrize("by", [-1, 1])
def test_an_integer_that_is_off_is_seen(by: int) -> None:
    layers = layers_of(test_target.small())
    x = sample(layers)
    right = expected(layers, x)
    for name, values in right.items():
        off = values.copy()
        off.flat[values.size // 2] += by * np.diff(np.unique(values)).min()
        assert max(worst(layers, {**right, name: off}, x).values()) > 1, name
