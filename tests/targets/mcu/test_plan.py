"""The arena: nothing that lives together overlaps, sharing is used where it is allowed and nowhere else."""

from __future__ import annotations

import random

import pytest

from edgeopt.targets.mcu.plan.first_fit import ALIGNMENT, Buffer, Plan, Sharing, plan


def overlaps(a: Buffer, b: Buffer, placed: Plan) -> bool:
    x, y = placed.offsets[a.name], placed.offsets[b.name]
    return x < y + b.size and y < x + a.size


def live_together(a: Buffer, b: Buffer) -> bool:
    return a.first <= b.last and b.first <= a.last


@pytest.mark.parametrize("seed", range(20))
def test_buffers_that_live_together_lie_apart(seed: int) -> None:
    rng = random.Random(seed)
    buffers = [
        Buffer(f"b{i}", rng.randint(1, 500), (t := rng.randint(0, 12)), t + rng.randint(0, 4)) for i in range(15)
    ]
    placed = plan(buffers, [])
    for i, a in enumerate(buffers):
        assert placed.offsets[a.name] % ALIGNMENT == 0
        assert placed.offsets[a.name] + a.size <= placed.arena_bytes
        for b in buffers[:i]:
            assert not (live_together(a, b) and overlaps(a, b, placed))


def test_the_same_buffers_give_the_same_plan() -> None:
    buffers = [Buffer(f"b{i}", 100 + 37 * i % 91, i, i + 2) for i in range(12)]
    assert plan(buffers, []) == plan(list(reversed(buffers)), [])


def test_a_chain_reaches_the_two_largest_neighbors() -> None:
    sizes = [100, 400, 300, 200]
    placed = plan([Buffer(f"b{i}", size, i, i + 1) for i, size in enumerate(sizes)], [])
    assert placed.arena_bytes == 700


def test_in_place_takes_no_memory() -> None:
    buffers = [Buffer("x", 400, 0, 1), Buffer("y", 400, 1, 2)]
    placed = plan(buffers, [Sharing("x", "y", 0, exact=True)])
    assert placed.arena_bytes == 400


def test_a_diagonal_overlap_keeps_its_distance() -> None:
    buffers = [Buffer("x", 200, 0, 1), Buffer("y", 400, 1, 2)]
    placed = plan(buffers, [Sharing("x", "y", 208)])
    assert placed.arena_bytes == 408
    assert placed.offsets["x"] - placed.offsets["y"] == 208


def test_an_exact_distance_is_not_exceeded() -> None:
    buffers = [Buffer("x", 400, 0, 1), Buffer("y", 400, 1, 2), Buffer("scratch", 16, 1, 1)]
    placed = plan(buffers, [Sharing("x", "y", 40, exact=True)])
    assert placed.offsets["x"] - placed.offsets["y"] == 40
    assert placed.arena_bytes == 456


def test_a_falling_chain_is_placed_from_its_end() -> None:
    buffers = [Buffer(f"b{i}", 400, i, i + 1) for i in range(5)]
    placed = plan(buffers, [Sharing(f"b{i}", f"b{i + 1}", 20, exact=True) for i in range(4)])
    assert placed.arena_bytes == 480


def test_overread_stays_in_the_arena() -> None:
    placed = plan([Buffer("x", 10, 0, 1, overread=7)], [])
    assert placed.offsets["x"] + 17 <= placed.arena_bytes
