from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.bias_correction import BiasCorrection
from tests.passes.quantized import SCHEMES, context, network, quantized


def mean_shift(reference: Any, program: Any, data: Any, name: str) -> Any:
    """Return how far the mean of each output channel of a layer is off."""
    values: dict[str, list[Any]] = {"reference": [], "program": []}
    for key, one in (("reference", reference), ("program", program)):
        for sample in data:
            one.run(sample, lambda node, value, key=key: values[key].append(value) if node.name == name else None)
    mean = [torch.cat(v).transpose(0, 1).flatten(1).mean(1) for v in values.values()]
    return (mean[0] - mean[1]).abs().max()


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_the_mean_of_the_first_layer_comes_back(scheme: Any) -> None:
    module = network()
    with torch.no_grad():
        module[0].weight.mul_(torch.linspace(0.9, 1.1, 8).view(-1, 1, 1, 1))
    reference, program, data, seen = quantized(scheme, module)
    corrected, (record,) = Pipeline([BiasCorrection()]).run(program, context(reference, seen))
    assert record.changed and record.applied == 3
    layer = next(node.name for node in reference.calls)
    before, after = (mean_shift(reference, one, data, layer) for one in (program, corrected))
    assert after < before / 2
    _, (again,) = Pipeline([BiasCorrection()]).run(corrected, context(reference, seen))
    assert not again.changed and "before" in str(again.refused[0].reason)


def test_a_layer_without_bias_is_refused() -> None:
    reference, program, _, seen = quantized(SCHEMES["int32 bias"], nn.Sequential(nn.Conv2d(4, 3, 3, bias=False)))
    _, (record,) = Pipeline([BiasCorrection()]).run(program, context(reference, seen))
    assert not record.changed and record.refused[0].reason == "it has no bias"


def test_a_layer_that_was_not_observed_is_refused() -> None:
    reference, program, _, _ = quantized(SCHEMES["int32 bias"])
    _, (record,) = Pipeline([BiasCorrection()]).run(program, context(reference, {}))
    assert not record.changed and {note.reason for note in record.refused} == {"its data was not observed"}
