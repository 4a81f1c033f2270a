from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.analysis.quantized_layers import quantized_layers
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.adaptive_rounding import AdaptiveRounding
from edgeopt.quant.codebook import CODEBOOKS
from edgeopt.quant.pairs import LIMIT, largest_sums
from tests.passes.quantized import SCHEMES, context, quantized, sqnr


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_outputs_come_closer_and_weights_stay_neighbors(scheme: Any) -> None:
    reference, program, data, seen = quantized(scheme)
    rounded, (record,) = Pipeline([AdaptiveRounding()]).run(program, context(reference, seen))
    assert record.changed
    for layer in quantized_layers(rounded, reference):
        assert torch.all((layer.rounded - layer.weight).abs() <= layer.scale * 1.0001)
    assert sqnr(reference, rounded, data) > sqnr(reference, program, data) + 0.5
    _, (again,) = Pipeline([AdaptiveRounding()]).run(rounded, context(reference, seen))
    assert not again.changed


def test_pairs_of_products_still_fit_sixteen_bits() -> None:
    scheme = replace(SCHEMES["float bias"], paired=True)
    reference, program, data, seen = quantized(scheme)
    rounded, (record,) = Pipeline([AdaptiveRounding(scheme)]).run(program, context(reference, seen))
    assert record.changed
    for layer in quantized_layers(rounded, reference):
        assert largest_sums(layer.stored.int(), scheme.order_of(layer.node)).max() <= LIMIT
    assert sqnr(reference, rounded, data) > sqnr(reference, program, data) + 0.5


def test_exact_weights_are_left() -> None:
    layer = nn.Conv2d(4, 2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[127.0, 1, -3, 0], [127, 60, 2, -127]]).view(2, 4, 1, 1))
    reference, program, _, seen = quantized(SCHEMES["int32 bias"], nn.Sequential(layer))
    _, (record,) = Pipeline([AdaptiveRounding()]).run(program, context(reference, seen))
    assert not record.changed
    _, (record,) = Pipeline([AdaptiveRounding()]).run(program, context(reference, {}))
    assert [note.reason for note in record.refused] == ["its patches were not observed"]


@pytest.mark.parametrize("name", CODEBOOKS)
def test_integers_of_a_codebook_are_exchanged_for_each_other(name: str) -> None:
    scheme = replace(SCHEMES["int32 bias"], codebook=CODEBOOKS[name])
    reference, program, data, seen = quantized(scheme)
    rounded, (record,) = Pipeline([AdaptiveRounding(scheme)]).run(program, context(reference, seen))
    assert record.changed
    numbers = {*CODEBOOKS[name].magnitudes, *(-m for m in CODEBOOKS[name].magnitudes)}
    grouped, *others = quantized_layers(rounded, reference)
    assert grouped.stored.abs().max() == 127
    assert all(set(layer.stored.flatten().tolist()) <= numbers for layer in others)
    assert sqnr(reference, rounded, data) > sqnr(reference, program, data) + 0.5
