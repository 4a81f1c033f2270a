from typing import Any

import torch
from torch import nn

from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.unsigned_weights import UnsignedWeights
from edgeopt.plugins.testing import to_program
from tests.passes.quantized import SCHEMES, quantized


def test_no_number_changes() -> None:
    _, program, data, _ = quantized(SCHEMES["float bias"])
    unsigned, (record,) = Pipeline([UnsignedWeights()]).run(program)
    assert record.applied == 3
    weights = [tensor for tensor in unsigned.constants.values() if tensor.dtype == torch.uint8 and tensor.dim() > 1]
    assert len(weights) == 3 and all(int(tensor.min()) > 0 and int(tensor.max()) == 255 for tensor in weights)
    for sample in data:
        (before,), (after,) = (p.run(sample).values() for p in (program, unsigned))
        assert (before == after).all()
    assert not UnsignedWeights()(unsigned).changed


class Signed(nn.Module):
    """A layer of a signed weight, and one more reader of it, or activations that are rounded by token."""

    def __init__(self, by_token: Any) -> None:
        super().__init__()
        self.by_token = by_token
        self.register_buffer("q", torch.ones(4, 8, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(4))
        self.register_buffer("zero", torch.zeros(4, dtype=torch.int8))

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        w = torch.ops.edgeopt.dequantize(self.q, self.scale, self.zero, 0)
        if self.by_token:
            return nn.functional.linear(torch.ops.edgeopt.round_tokens(x), w)
        return nn.functional.linear(x, w), w.sum()


def test_refusals() -> None:
    reasons = []
    for by_token in (False, True):
        result = UnsignedWeights()(to_program(Signed(by_token), [torch.randn(2, 8)]))
        reasons += [note.reason for note in result.notes]
        assert not result.changed
    assert reasons == ["it is read by more than layers", "its layer rounds activations by token"]
