"""Specs as users write them, and sample files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeopt.errors import UserError
from edgeopt.frontend.inputs import DynamicSpec, InputSpec, load_sample


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x:1x3x32x32", InputSpec("x", (1, 3, 32, 32))),
        ("x:1,3,32,32", InputSpec("x", (1, 3, 32, 32))),
        ("ids:1x128:int64", InputSpec("ids", (1, 128), torch.int64)),
        ("1x8", InputSpec("", (1, 8))),
        ("1x8:float16", InputSpec("", (1, 8), torch.float16)),
    ],
)
def test_input_specs(text: str, expected: Any) -> None:
    assert InputSpec.parse(text) == expected


@pytest.mark.parametrize("text", ["", "x", "x:", "x:1x-3", "x:1x3:float99", "x:axb", "x:1x0", "x:1:2:3"])
def test_bad_input_specs_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        InputSpec.parse(text)


def test_dynamic_specs() -> None:
    assert DynamicSpec.parse("x:0=1..16") == DynamicSpec("x", 0, 1, 16)
    for text in ("x:0", "x=1..2", "x:0=4..4", "x:0=0..4", "x:a=1..2"):
        with pytest.raises(UserError):
            DynamicSpec.parse(text)


def test_sample_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", x=np.ones(3))
    assert np.array_equal(load_sample(tmp_path / "good.npz")["x"], np.ones(3))
    with pytest.raises(UserError, match="does not exist"):
        load_sample(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"neither an \.npz nor an \.npy file"):
        load_sample(tmp_path / "text.npz")
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="holds Python objects"):
        load_sample(tmp_path / "pickled.npz")
