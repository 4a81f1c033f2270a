"""What is found in the architectures of ``transformers``, as traced and after the exact passes."""

from __future__ import annotations

from typing import Any

import pytest

from edgeopt.analysis.blocks import Block, find_blocks
from edgeopt.analysis.norms import find_norms
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from tests.models import transformers_tiny as tiny

pytestmark = pytest.mark.slow

# form, heads, heads of the key, queries, keys, head size, windows, mask
EXPECTED = {
    "vit": [("pre-LN", 4, 4, 17, 17, 8, 1, "none")] * 2,
    "deit": [("pre-LN", 4, 4, 18, 18, 8, 1, "none")] * 2,
    "swin": [
        ("pre-LN", 2, 2, 16, 16, 8, 16, "bias"),
        ("pre-LN", 2, 2, 16, 16, 8, 16, "fixed, bias"),
        ("pre-LN", 4, 4, 16, 16, 8, 4, "bias"),
        ("pre-LN", 4, 4, 16, 16, 8, 4, "fixed, bias"),
    ],
    "swin_padded": [
        ("pre-LN", 2, 2, 16, 16, 8, 25, "bias"),
        ("pre-LN", 2, 2, 16, 16, 8, 25, "fixed, bias"),
        ("pre-LN", 4, 4, 16, 16, 8, 9, "bias"),
        ("pre-LN", 4, 4, 16, 16, 8, 9, "fixed, bias"),
    ],
    "pvt_v2": [("pre-LN", 1, 1, 64, 16, 16, 1, "none"), ("pre-LN", 2, 2, 16, 16, 16, 1, "none")],
    "bert": [("post-LN", 4, 4, 10, 10, 8, 1, "padding")] * 2,
    "minilm": [("post-LN", 4, 4, 10, 10, 8, 1, "padding")] * 2,
    "distilbert": [("post-LN", 4, 4, 10, 10, 8, 1, "padding")] * 2,
    "gpt2": [("pre-LN", 4, 4, 10, 10, 8, 1, "causal, padding")] * 2,
    "whisper_encoder": [("pre-LN", 4, 4, 10, 10, 8, 1, "none")] * 2,
    "llama": [("pre-RMS", 4, 2, 10, 10, 8, 1, "causal, padding")] * 2,
}
NORMS = {"vit": 5, "deit": 5, "swin": 11, "pvt_v2": 9, "bert": 5, "distilbert": 5, "gpt2": 5, "whisper_encoder": 5}
NORMS |= {"llama": 5, "minilm": 5, "swin_padded": 11}


def told(block: Block) -> tuple[Any, ...]:
    a = block.attention
    return block.form, a.heads, a.kv_heads, a.tokens, a.keys, a.head_size, a.windows, str(a.mask)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", tiny.NAMES)
def test_blocks_and_norms(name: str, attention: str) -> None:
    traced = tiny.program(name, attention)
    exact = Pipeline([step.build() for step in EXACT])(traced).program
    for program in (traced, exact):
        blocks = find_blocks(program)
        assert [told(block) for block in blocks] == EXPECTED[name]
        kinds = {norm.kind for norm in find_norms(program)}
        assert kinds == ({"rms"} if name == "llama" else {"layer"})
        assert len(find_norms(program)) == NORMS[name]
        fused = attention == "sdpa" and name != "pvt_v2"
        assert all(block.attention.is_fused == fused for block in blocks)
