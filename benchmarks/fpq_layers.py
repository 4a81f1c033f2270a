"""How far FPQ's search brings the outputs of MiniLM's layers to those in float, beside min-max, layer by layer.

    python -m benchmarks.fpq_layers [--json]

Weights alone in four bits. A row holds the squared error of a block's six linears over that of min-max, on sentences
that the search has not seen: with weights rounded to the nearest, and with compensated rounding; the last row is of all
36. Means are geometric, for layers differ by orders of magnitude in what they err. Takes some five minutes.
"""

from __future__ import annotations

import logging
import math
import warnings
from typing import Any

import click
import torch

from benchmarks.table import show
from edgeopt.quant.fpq import Found, minmax, search
from tests.models import minilm

CALIBRATION = 150
WAYS = {"nearest": False, "compensated": True}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(as_json: bool) -> None:
    """Compare errors of layers' outputs."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model = minilm.build()
    rows: list[dict[str, Any]] = []
    every: dict[str, list[float]] = {way: [] for way in WAYS}
    for index, block in enumerate(model.get_submodule("bert.encoder.layer").children()):
        linears = [module for module in block.modules() if isinstance(module, torch.nn.Linear)]
        seen, held = (
            minilm.read_by(model, linears, texts) for texts in (minilm.prose(CALIBRATION), minilm.HELD_OUT[::4])
        )
        row: dict[str, Any] = {"block": index}
        for way, compensate in WAYS.items():
            ratios = []
            for linear in linears:
                found = search(linear.weight.data, seen[linear], compensate=compensate)
                assert list(found.errors) == sorted(found.errors, reverse=True)
                ratios.append(_relative(found, linear, held[linear]))
            every[way] += ratios
            row[way], row[f"{way}, worst layer"] = _mean(ratios), max(ratios)
        click.echo(row, err=True)
        rows.append(row)
    total: dict[str, Any] = {"block": "all"}
    for way, ratios in every.items():
        total |= {way: _mean(ratios), f"{way}, worst layer": max(ratios)}
    show([*rows, total], as_json)


def _relative(found: Found, linear: torch.nn.Linear, x: torch.Tensor) -> float:
    """Return the squared error of what a layer makes, over that of min-max."""
    weight = linear.weight.data
    errors = [float((one.apply(x) - x @ weight.T).square().mean()) for one in (found, minmax(weight))]
    return errors[0] / errors[1]


def _mean(ratios: list[float]) -> float:
    """Return the geometric mean: layers differ by orders of magnitude in what they err."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


if __name__ == "__main__":
    main()
