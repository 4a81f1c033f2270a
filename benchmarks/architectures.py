"""Which architectures of ``transformers`` export, how well they match torch, and how fast they run.

    python -m benchmarks.architectures [--small] [--json] [ARCHITECTURE ...]

Random weights; fp32, one thread. "error" is the largest difference from torch over the largest output; "speedup" is
the latency of the plain export of the same model on the same target over that of edgeopt's, measured alternately, and
"cv" the coefficient of variation: above 0.025 the machine was busy. A failure is listed with its reason.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from typing import Any

import click
import torch

import edgeopt
from benchmarks.table import show
from edgeopt.errors import EdgeoptError
from tests.models import zoo

TARGETS = ("onnx", "openvino")


@click.command()
@click.argument("architectures", nargs=-1, type=click.Choice(tuple(zoo.ARCHITECTURES)))
@click.option("--small", is_flag=True, help="Fewer layers: a check that takes minutes.")
@click.option("--max-seconds", default=3.0, show_default=True, help="Longest time to measure one model.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(architectures: tuple[str, ...], small: bool, max_seconds: float, as_json: bool) -> None:
    """Export every architecture to every target that runs on this machine."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for name in architectures or zoo.ARCHITECTURES:
        for target in TARGETS:
            click.echo(f"{name} on {target}", err=True)
            rows.append(measure(name, target, small, max_seconds))
    show(rows, as_json)


def measure(name: str, target: str, small: bool, max_seconds: float) -> dict[str, Any]:
    """Export one architecture to one target and return its row."""
    model, inputs = zoo.build(name, small)
    row: dict[str, Any] = {"architecture": name, "M parameters": sum(p.numel() for p in model.parameters()) / 1e6}
    row |= {"target": target, "exported": False, "error": None, "ms": None, "cv": None}
    row |= {"plain ms": None, "speedup": None}
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = edgeopt.export(model, target, f"{folder}/out", inputs=inputs, samples=1, max_seconds=max_seconds)
    except EdgeoptError as error:
        return {**row, "note": error.message.splitlines()[0]}
    row |= {"exported": True, "error": run.error.relative if run.error else None, "note": "; ".join(run.notes)}
    if run.latency:
        row |= {"ms": run.latency.median, "cv": run.latency.cv}
    if run.baseline:
        row |= {"plain ms": run.baseline.latency.median, "speedup": run.baseline.speedup}
    return row


if __name__ == "__main__":
    main()
