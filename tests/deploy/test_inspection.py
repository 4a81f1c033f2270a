"""What inspect tells of a transformer: its blocks, and what the passes beyond the target's would do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeopt.deploy.inspection import Inspection, inspect_model, inspection_sections
from edgeopt.frontend.load import LoadOptions
from tests.models.normalizers import PRepBN, RepBN
from tests.passes.builders import Call, randomized


class Encoder(nn.Module):
    """Two pre-norm layers with a stem that a centering can go into, and two factors that do not pay."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(self.stem(x))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    path: Path = tmp_path_factory.mktemp("models") / "encoder.pt2"
    torch.export.save(torch.export.export(Encoder().eval(), (torch.randn(1, 4, 6),)), path)
    return inspect_model(path, LoadOptions(), "reference")


def test_blocks(found: Inspection) -> None:
    told = [(b.form, b.fused, b.heads, b.kv_heads, b.tokens, b.keys, b.head_size, b.mask) for b in found.blocks]
    assert told == [("pre-LN", True, 2, 2, 4, 4, 4, "none")] * 2


def test_passes_beyond_the_targets(found: Inspection) -> None:
    applied = {entry.name: entry.applied for entry in found.further}
    assert (applied["merge-low-rank"], applied["pre-rmsnorm"]) == (1, 5)
    assert not {entry.name for entry in found.further} & {entry.name for entry in found.passes}


def test_sections(found: Inspection) -> None:
    sections = {section.id: section for section in inspection_sections(found)}
    row = sections["blocks"].tables[0].rows[0]
    assert row[1:] == ("pre-LN", "fused", "2", "4", "4", "none")
    assert ("pre-rmsnorm", "exact", "5", "0") in sections["further"].tables[0].rows


def test_verdicts_on_attention_and_norms(found: Inspection) -> None:
    block, norm = found.blocks[0], found.normalizers[0]
    assert block.passes["expand-attention"] == "applies"
    assert "it would not pay" in block.passes["linear-attention"]
    assert norm.form == "LayerNorm" and norm.channels == 8
    assert norm.passes == {
        "fold-affine": "applies",
        "pre-rmsnorm": "applies",
        "replace-layernorm": "applies, with data to tune on",
    }


def test_what_is_alike_is_told_once(found: Inspection) -> None:
    sections = {section.id: section for section in inspection_sections(found)}
    norms, told = (table.rows for table in sections["normalizers"].tables)
    assert norms == (("LayerNorm", "8", "5", "layer_norm, layer_norm_1 and 3 more"),)
    assert ("pre-rmsnorm", "applies", "layer_norm, layer_norm_1 and 3 more") in told
    _, of_attention = (table.rows for table in sections["blocks"].tables)
    assert [row[0] for row in of_attention].count("linear-attention") == 1
    assert {"agent-attention", "soft-attention"} <= {row[0] for row in of_attention}
    refusals = sections["passes"].tables[-1].rows
    assert len(refusals) == len(set(refusals))


def test_verdicts_say_why_not(tmp_path: Path) -> None:
    def model(m: Call, x: torch.Tensor) -> torch.Tensor:
        y = m.first(m.stem(x))
        y = m.norm(y + m.branch(y))
        return m.rep(y + m.branch(y)) + m.head(m.blend(m.stem(x)))

    linears = {name: nn.Linear(8, 8) for name in ("stem", "branch", "head")}
    norms = {"first": nn.LayerNorm(8), "norm": nn.LayerNorm(8), "rep": RepBN(8), "blend": PRepBN(8, 0.5)}
    path = tmp_path / "model.pt2"
    exported = torch.export.export(randomized(Call(model, **linears, **norms)).eval(), (torch.randn(1, 4, 8),))
    torch.export.save(exported, path)
    told = {one.form: one.passes for one in inspect_model(path, LoadOptions(), "reference").normalizers}
    assert set(told) == {"LayerNorm", "RepBN", "PRepBN (lambda 0.5 on its LayerNorm)"}
    assert "feeds the stream with a mean of its own" in told["LayerNorm"]["pre-rmsnorm"]
    assert told["RepBN"] == {"fold-affine": "no linear or convolution stands beside its scale and shift"}
    blend = told["PRepBN (lambda 0.5 on its LayerNorm)"]
    assert blend["fold-affine"] == "it is still blended, lambda 0.5 on its LayerNorm: the schedule has not ended"
