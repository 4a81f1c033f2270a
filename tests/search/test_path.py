"""Paths of configurations from estimates, and Pareto fronts of what was measured."""

import itertools
from typing import Any

import numpy as np
import pytest

from edgeopt.search.path import Choice, exchange_path, pareto, spread


def random_choices(seed: int, layers: int = 5, formats: int = 4) -> dict[str, list[Choice]]:
    random = np.random.default_rng(seed)
    return {
        f"layer_{i}": [
            Choice("exact", 0.0, float(random.uniform(1, 3))),
            *(Choice(f"f{j}", *map(float, random.uniform(0.01, 1, 2))) for j in range(formats - 1)),
        ]
        for i in range(layers)
    }


def totals(choices: dict[str, list[Choice]], mix: dict[str, str]) -> tuple[float, float]:
    chosen = [next(c for c in options if c.format == mix[layer]) for layer, options in choices.items()]
    return sum(c.noise for c in chosen), sum(c.cost for c in chosen)


@pytest.mark.parametrize("seed", range(5))
def test_no_mixture_has_less_noise_at_the_cost_of_one_on_the_path_weighted_any_way(seed: Any) -> None:
    choices = random_choices(seed)
    path = exchange_path(choices)
    every = [
        totals(choices, dict(zip(choices, names, strict=True)))
        for names in itertools.product(*([c.format for c in options] for options in choices.values()))
    ]
    on_path = [totals(choices, mix) for mix in path]
    for weight in np.geomspace(1e-3, 1e3, 40):
        best = min(noise + weight * cost for noise, cost in every)
        assert min(noise + weight * cost for noise, cost in on_path) == pytest.approx(best)


def test_a_path_leads_from_the_most_exact_mixture_to_the_cheapest_and_always_saves() -> None:
    choices = random_choices(7)
    costs = [totals(choices, mix) for mix in exchange_path(choices)]
    assert set(exchange_path(choices)[0].values()) == {"exact"}
    assert costs[-1][1] == pytest.approx(sum(min(c.cost for c in options) for options in choices.values()))
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in itertools.pairwise(costs))


def test_a_format_that_saves_nothing_is_never_chosen() -> None:
    choices = {"layer": [Choice("exact", 0.0, 1.0), Choice("slow", 0.1, 1.0), Choice("slower", 0.2, 2.0)]}
    assert exchange_path(choices) == [{"layer": "exact"}]


@pytest.mark.parametrize(("length", "count", "places"), [(3, 8, [0, 1, 2]), (9, 3, [0, 4, 8]), (1, 4, [0])])
def test_places_are_spread_with_both_ends(length: Any, count: int, places: Any) -> None:
    assert spread(length, count) == places


def test_the_front_holds_what_nothing_dominates() -> None:
    items = {"a": (1.0, 5.0), "b": (2.0, 2.0), "c": (3.0, 3.0), "d": (5.0, 1.0), "twin of b": (2.0, 2.0)}
    assert pareto(items) == {"a", "b", "d", "twin of b"}
