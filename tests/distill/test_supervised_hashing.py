"""Hash functions learned of queries and keys: what is alike gets like codes, bit by bit, the same each time."""

from __future__ import annotations

import pytest
import torch

from edgeopt.ops.hashed_attention import codes, kernel
from edgeopt.passes.substitution.supervised_hashing import FORMS, degenerate, learn

SAMPLES, HEADS, SIZE, BITS, POINTS = 3, 2, 8, 8, 20
CLUSTERS, EACH = 4, 12


def clusters(seed: int = 0) -> torch.Tensor:
    """Return tokens [samples, heads, 48, 8] around four directions, twelve in a row of each."""
    generator = torch.Generator().manual_seed(seed)
    centers = 3 * torch.eye(SIZE)[:CLUSTERS].repeat_interleave(EACH, 0)
    return centers + 0.3 * torch.randn(SAMPLES, HEADS, CLUSTERS * EACH, SIZE, generator=generator)


def agreement(x: torch.Tensor, hashing: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the mean h_i . h_j / b between clusters, [heads, clusters, clusters]."""
    h = codes(x, *hashing[:3])
    y: torch.Tensor = (
        (h @ h.mT / BITS).mean(0).unflatten(-1, (CLUSTERS, EACH)).unflatten(-3, (CLUSTERS, EACH)).mean((-3, -1))
    )
    return y


@pytest.mark.parametrize("form", FORMS)
def test_tokens_of_a_cluster_have_like_codes(form: str) -> None:
    found = learn(clusters(), clusters(), BITS, POINTS, form)
    others = clusters(seed=1)  # tokens that nothing was learned of
    between = agreement(others, found)
    own = between.diagonal(dim1=-2, dim2=-1)
    apart = between[:, ~torch.eye(CLUSTERS, dtype=torch.bool)]
    # Four clusters can agree by -1/3 on average at the least; planes at random leave two of them at 0.46.
    most = 0.25 if form == "released" else 0.0
    assert own.min() > 0.6 and apart.mean() < -0.2 and apart.max() < most


def test_two_clusters_are_found_by_every_bit_alike() -> None:
    x = clusters()[:, :, : 2 * EACH].unflatten(2, (2, EACH))[:, :, :, :10].flatten(2, 3)  # ten alike, ten unlike
    objective = learn(x, x, BITS, POINTS, "paper").objective
    expected = (1 - torch.arange(BITS + 1) / BITS).square()
    torch.testing.assert_close(objective, expected.unsqueeze(-1).expand(-1, HEADS))


@pytest.mark.parametrize("form", ["ranks", "paper"])
def test_bits_lower_the_objective_one_after_another(form: str) -> None:
    objective = learn(clusters(), clusters(), BITS, POINTS, form).objective
    assert objective.shape == (BITS + 1, HEADS)
    # Four clusters cannot all be opposites: the last bits have nothing left to find.
    assert (objective[:7].diff(dim=0) < 0).all() and (objective[-1] < 0.5 * objective[0]).all()


def test_the_objective_is_of_the_codes_returned() -> None:
    query, key = torch.randn(2, 1, HEADS, 16, SIZE)
    found = learn(query, key, BITS, POINTS, "paper")
    high, low = (query @ key.mT).topk(8, -1), (query @ key.mT).topk(8, -1, largest=False)
    wanted = torch.zeros(1, HEADS, 16, 16).scatter_(-1, high.indices, 1).scatter_(-1, low.indices, -1)
    products = codes(query, *found[:3]) @ codes(key, *found[:3]).mT
    torch.testing.assert_close(found.objective[0], wanted.square().mean((0, 2, 3)))
    torch.testing.assert_close(found.objective[-1], (products / BITS - wanted).square().mean((0, 2, 3)))


def test_a_plane_is_better_than_nearly_all_at_random() -> None:
    x = torch.randn(SAMPLES, HEADS, 64, SIZE)
    found = learn(x, x, 1, POINTS)
    kernels = kernel(x, found.anchors) - found.offset.unsqueeze(-2)
    h = (kernels @ torch.randn(HEADS, POINTS, 500)).sign()
    ranks = 2 * (x @ x.mT).argsort(-1).argsort(-1) / 63 - 1
    gained = torch.einsum("shnk,shnl,shlk->hk", h, ranks, h)
    own = codes(x, *found[:3])
    assert (torch.einsum("shnk,shnl,shlk->hk", own, ranks, own) > gained.quantile(0.99, -1, keepdim=True)).all()


def test_queries_and_keys_may_differ_in_number_and_be_few() -> None:
    found = learn(torch.randn(1, HEADS, 3, SIZE), torch.randn(1, HEADS, 5, SIZE), BITS, POINTS)
    assert found.anchors.shape == (HEADS, POINTS, SIZE) and found.planes.shape == (HEADS, BITS, POINTS)
    assert all(value.isfinite().all() for value in found)


@pytest.mark.parametrize("form", FORMS)
def test_the_seed_alone_decides(form: str) -> None:
    one, same, other = (learn(clusters(), clusters(), 2, POINTS, form, seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.planes, other.planes)


def test_what_holds_no_likeness_is_refused() -> None:
    tokens = torch.randn(1, HEADS, 20, SIZE)
    across = torch.zeros_like(tokens)
    across[..., 0] = 1
    tokens[..., 0] = 0
    alike = "to the queries of head 0 all keys are equally alike"
    assert degenerate(tokens, tokens) is None
    assert degenerate(across, tokens) == alike  # orthogonal
    assert degenerate(tokens, tokens[:, :, :1].expand_as(tokens)) == alike  # all keys the same
    each = torch.eye(20).expand(1, HEADS, 20, 20)
    assert degenerate(each, each) == alike  # alike only to themselves
    half = torch.cat([tokens[:, :1], across[:, 1:]], 1)
    assert degenerate(half, tokens) == alike.replace("0", "1")
    assert degenerate(tokens, tokens[:, :, :1]) == "1 key has none to be compared with"
    assert degenerate(tokens * torch.inf, tokens) == "queries or keys are not finite"
