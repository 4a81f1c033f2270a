"""EcoFormer's attention in a softmax attention's place: its hash functions are learned before they are tuned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx, nn

from edgeopt.analysis.attention import find_attentions
from edgeopt.distill.distil import Tuned, distil
from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import UserError
from edgeopt.ir.program import Program
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.substitution.hashed_attention import STARTS, HashedAttention
from edgeopt.passes.substitution.supervised_hashing import learn
from edgeopt.plugins.testing import to_program
from tests.passes.test_linear_attention import model, samples


def started(program: Program, start: str, count: int = 9, **options: Any) -> Tuned:
    """Return the swapped program before tuning."""
    result = HashedAttention(bits=8, start=start, force=True, **options)(program)
    return distil(program, result.program, result.swaps, samples(program, count), blocks=False)


@pytest.mark.parametrize("fused", [True, False])
def test_hash_functions_are_learned_of_the_originals_queries_and_keys(fused: bool) -> None:
    program = model(fused)
    attention, _ = find_attentions(program)
    rows: dict[str, list[torch.Tensor]] = {attention.query.name: [], attention.key.name: []}

    def keep(node: fx.Node, value: torch.Tensor) -> None:
        if node.name in rows:
            rows[node.name].append(value)

    for sample in samples(program, 9)[:7] + samples(program, 9)[8:]:  # one in eight is held out
        program.run(sample, keep)
    query, key = map(torch.cat, rows.values())
    found = learn(query, key.mT if attention.key_is_transposed else key, 8, 25)
    constants = started(program, "ranks").program.constants
    for name in ("anchors", "offset", "planes"):
        torch.testing.assert_close(constants[f"{attention.root.name}_{name}"], getattr(found, name))


@pytest.mark.parametrize("start", STARTS)
def test_every_start_can_be_tuned(start: str) -> None:
    program = model()
    result = HashedAttention(bits=4, start=start, force=True)(program)
    found = distil(program, result.program, result.swaps, samples(program, 16), TuneOptions(steps=40, rate=2e-2))
    assert all(found.blocks_after[label] < before for label, before in found.blocks_before.items())


def test_a_random_start_stays_as_it_was_inserted() -> None:
    program = model()
    swapped = Pipeline([HashedAttention(bits=8, start="random", force=True)])(program).program
    constants = started(program, "random").program.constants
    assert all(torch.equal(constants[name], value) for name, value in swapped.constants.items())
    other = started(program, "random", seed=1).program.constants
    assert any(not torch.equal(other[name], value) for name, value in constants.items())


class Deaf(nn.Module):
    """An attention whose queries are all zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(0 * x, x, x)


def test_queries_that_tell_nothing_are_an_error_with_a_remedy() -> None:
    program = to_program(Deaf(), (torch.randn(1, 2, 64, 8),))
    with pytest.raises(UserError) as error:
        started(program, "ranks")
    assert error.value.message == (
        "no hash functions can be learned for 'scaled_dot_product_attention': to the queries of head 0 all keys are "
        "equally alike"
    )
    assert 'start = "random"' in str(error.value.hint)
    started(program, "random")


def test_unknown_starts_are_refused() -> None:
    with pytest.raises(UserError, match="unknown start 'rank'"):
        HashedAttention(start="rank")
