import torch
from torch import nn

from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.fuse_token_linears import FuseTokenLinears
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.testing import to_program
from edgeopt.quant.scheme import WEIGHTED, Scheme

SCHEME = Scheme(torch.int8, WEIGHTED, per_token=True)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(8, 16, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.a(x)) + self.b(x)


def test_linears_by_token_need_no_ranges_and_fuse() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8) * torch.tensor([[1.0], [50.0], [0.1]])
    program = to_program(Tokens(), [x])
    quantized, (record,) = Pipeline([InsertQdq(SCHEME)]).run(program)
    assert record.applied == 2 and quantized.text().count("edgeopt.round_tokens(") == 1
    fused, (record,) = Pipeline([FuseTokenLinears()]).run(quantized)
    assert record.applied == 2 and "aten.linear" not in fused.text()
    key = program.inputs[0].name
    original, pairs, integers = (
        torch.from_numpy(p.run({key: x.numpy()})["output"]) for p in (program, quantized, fused)
    )
    assert torch.allclose(pairs, integers, rtol=1e-5, atol=1e-5)
    assert torch.all((integers - original).abs().amax(1) < 0.02 * original.abs().amax(1)), "small tokens keep theirs"
    _, (again,) = Pipeline([FuseTokenLinears()]).run(fused)
    assert not again.changed
    _, (again,) = Pipeline([InsertQdq(SCHEME)]).run(quantized)
    assert not again.changed


def test_refusals() -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(torch.ops.edgeopt.round_tokens(x), w)

    result = FuseTokenLinears()(to_program(Rounded(), [torch.randn(2, 8), torch.randn(4, 8)]))
    assert [note.reason for note in result.notes] == ["its weight is not stored as integers"]

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("q", torch.ones(4, 8, dtype=torch.int8))
            self.register_buffer("scale", torch.ones(4))
            self.register_buffer("zero", torch.ones(4, dtype=torch.int8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            w = torch.ops.edgeopt.dequantize(self.q, self.scale, self.zero, 0)
            return nn.functional.linear(torch.ops.edgeopt.round_tokens(x), w)

    result = FuseTokenLinears()(to_program(Shifted(), [torch.randn(2, 8)]))
    assert [note.reason for note in result.notes] == ["its weight is not symmetric int8 with a scale for each output"]
