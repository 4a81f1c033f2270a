"""Which calibration samples a calibrated program is verified on."""

from __future__ import annotations

import numpy as np

from edgeopt.verification import varied


def sample(value: float, width: int = 4, padded: int = 0) -> dict[str, np.ndarray]:
    mask = np.arange(width)[None] < width - padded
    return {"x": np.full((1, width), value, np.float32), "mask": mask.astype(np.int64)}


def test_other_shapes_and_masks_come_before_more_of_the_same() -> None:
    data = [sample(0), sample(1), sample(2), sample(3, padded=2), sample(4, width=6), sample(5)]
    assert [s["x"][0, 0] for s in varied(data, 3)] == [0, 3, 4]
    assert [s["x"][0, 0] for s in varied(data, 5)] == [0, 1, 2, 3, 4]


def test_without_variety_the_first_are_taken() -> None:
    assert [s["x"][0, 0] for s in varied(map(sample, range(200)), 3)] == [0, 1, 2]
    assert len(varied([sample(0)], 3)) == 1
