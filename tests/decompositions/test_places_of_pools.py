"""Places of max pools are torch's, on every target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from edgeopt.plugins.registry import resolve
from tests.operators.cases import Case, call, case
from tests.operators.judge import difference
from tests.operators.runner import THROUGH_EXPORTERS, traced


def cases() -> Iterator[Case]:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 9, 8)
    for given in ({}, {"padding": 1, "ceil_mode": True}, {"padding": 1, "dilation": 2, "ceil_mode": True}):
        pool = {"kernel_size": 3, "stride": 2, "return_indices": True, **given}
        yield case("max_pool2d", f"places {given}", lambda x, p=pool: F.max_pool2d(x, **p), image)
        yield case("max_pool1d", f"places {given}", lambda x, p=pool: F.max_pool1d(x, **p), image[0])
    yield case(
        "adaptive_max_pool1d", "places", call(F.adaptive_max_pool1d, output_size=4, return_indices=True), image[0]
    )
    yield case(
        "adaptive_max_pool2d", "places", call(F.adaptive_max_pool2d, output_size=(3, 4), return_indices=True), image
    )


@pytest.mark.parametrize("name", THROUGH_EXPORTERS)
def test_computed_as_torch_does(name: str, tmp_path: Path) -> None:
    target = resolve(name)
    if not (probe := target.probe()).found:
        pytest.skip(str(probe.install))
    groups, lost = traced(list(cases()))
    faults = dict(lost)
    for index, group in enumerate(groups):
        folder = tmp_path / str(index)
        folder.mkdir()
        target.compile(group.program, folder, target.Options())
        with closing(target.open(folder, target.Options())) as session:
            got = session.run(group.feed)
        for output, expected in group.program.run(group.feed).items():
            if (fault := difference(expected, got[output], 0.0)) is not None:
                faults[group.cases[int(output.split("_")[1])].name] = fault
    assert not faults
