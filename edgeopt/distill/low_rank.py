"""Tuning old weights by low-rank updates alone: W + B A, of which A and B are tuned, merged once that is done.

A [rank, in] starts at random, as of a seeded normal distribution with variance 1 / in, and B [out, rank] at zero: the
first step sees the original. What is left is one matrix of the shape it had, so that the graph stays as it was.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from edgeopt.distill.loop import Parameters

_DOWN, _UP = ".down", ".up"


def factors(weights: Mapping[str, torch.Tensor], rank: int, seed: int) -> Parameters:
    """Return the two factors of each weight that is a matrix larger than ``rank`` on both sides; others stay as they
    are."""
    generator = torch.Generator().manual_seed(seed)
    found: Parameters = {}
    for name, weight in sorted(weights.items()):
        if weight.dim() == 2 and min(weight.shape) > rank:
            outs, ins = weight.shape
            found[name + _DOWN] = torch.randn(rank, ins, generator=generator).to(weight) * ins**-0.5
            found[name + _UP] = weight.new_zeros(outs, rank)
    return found


def merged(parameters: Parameters, weights: Mapping[str, torch.Tensor]) -> Parameters:
    """Return the parameters with a weight ``W + B A`` in the place of each pair of factors."""
    plain = {name: value for name, value in parameters.items() if not name.endswith((_DOWN, _UP))}
    ends = [name.removesuffix(_UP) for name in parameters if name.endswith(_UP)]
    return plain | {name: weights[name] + parameters[name + _UP] @ parameters[name + _DOWN] for name in ends}
