"""Number formats on a real transformer: accuracy and size of MiniLM with its linears in each format.

    python -m benchmarks.formats [--sentences 200] [--max-minutes 60] [--json] [ROW ...]

"cosine" is the mean cosine of the sentence embeddings with those of the float model, on sentences that nothing was
calibrated on; "size" are the bytes of the quantized weights, scales included, over those in float32. Calibrated on the
sentences of Python's language reference. Evaluated in torch, so that a format's own error is seen, not a runtime's.
Rows that have not begun when the time is up are left out and named.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator

import click
import numpy as np
import torch

from benchmarks.table import show
from edgeopt.calib.data import CALIBRATION, Function
from edgeopt.calib.moments import Patches
from edgeopt.frontend.inputs import DynamicSpec
from edgeopt.frontend.load import LoadOptions
from edgeopt.frontend.static_shapes import load_for
from edgeopt.ir.context import EMPTY
from edgeopt.ir.pass_base import Pass
from edgeopt.ir.program import Program
from edgeopt.ops.dequantize_blocks import DEQUANTIZE_BLOCKS
from edgeopt.passes.exact.fold_constants import FoldConstants
from edgeopt.passes.exact.standard import EXACT
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.fpq import FpqSearch
from edgeopt.passes.quantization.shift_channels import ShiftChannels
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.plugins.registry import resolve
from edgeopt.quant.blockwise import FORMATS, Blocks
from tests.models import minilm

CALIBRATION_TEXTS = 500
BATCH = 10


class Plain(WeightOnlyQuantization):
    """Weights rounded so that the largest of each block is representable."""

    def rounded(self, weight: torch.Tensor, seen: Patches | None) -> Blocks:
        """Return a weight in the format."""
        return Blocks.nearest(weight, FORMATS[self.format])


WAYS: dict[str, tuple[bool, list[Pass]]] = {
    **{f"{name}, plain": (False, [Plain(name)]) for name in FORMATS},
    **{f"{name}, searched scales": (False, [WeightOnlyQuantization(name)]) for name in FORMATS},
    **{f"{name}, compensated": (True, [WeightOnlyQuantization(name)]) for name in FORMATS},
    "fpq": (True, [FpqSearch(compensate=False)]),
    "fpq, compensated": (True, [FpqSearch()]),
    "nvfp4, activations too": (True, [WeightOnlyQuantization("nvfp4", activations=True)]),
    "mxfp4, activations too": (True, [WeightOnlyQuantization("mxfp4", activations=True)]),
    "fpq, activations too": (True, [ShiftChannels(), FpqSearch(activations=True)]),
}
"""Whether there is calibration data, and the passes."""


@click.command()
@click.argument("ways", nargs=-1, type=click.Choice(tuple(WAYS)))
@click.option("--sentences", default=200, show_default=True, help="Held-out sentences to measure on.")
@click.option("--max-minutes", default=60.0, show_default=True, help="Time after which no other row begins.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(ways: tuple[str, ...], sentences: int, max_minutes: float, as_json: bool) -> None:
    """Compare the formats."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    program, texts = prepared(), minilm.HELD_OUT[:sentences]
    batches = [minilm.tokens(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    data = Function(_calibration, "prose", program.inputs)
    expected = embeddings(program, batches)
    rows = []
    begun = time.perf_counter()
    for name in ways or WAYS:
        if time.perf_counter() - begun > 60 * max_minutes:
            click.echo(f"left out: {name}", err=True)
            continue
        click.echo(name, err=True)
        start = time.perf_counter()
        on_data, passes = WAYS[name]
        quantized, _ = Pipeline(passes).run(program, EMPTY.adding(CALIBRATION, data if on_data else None))
        seconds = time.perf_counter() - start
        # Decoded once, not for each sentence.
        decoded, _ = Pipeline([FoldConstants()]).run(quantized)
        cosine = float((expected * embeddings(decoded, batches)).sum(1).mean())
        click.echo(f"  {cosine:.4f} in {seconds:.0f} s", err=True)
        rows.append({"format": name, "cosine": f"{cosine:.4f}", "size": size(quantized), "seconds": seconds})
    show(rows, as_json)


def prepared() -> Program:
    """Return the float program after the exact passes, of any number of tokens."""
    example = minilm.tokens(minilm.HELD_OUT[:2])
    dynamic = tuple(DynamicSpec.parse(f"{name}:{axis}") for name in example for axis in ("0=1..16", "1=2..128"))
    options = LoadOptions(sample=example, dynamic=dynamic)
    program = load_for(resolve("reference"), minilm.build(), options).program
    return Pipeline([step.build() for step in EXACT]).run(program)[0]


def embeddings(program: Program, batches: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Return the embeddings of batches of sentences, of unit length."""
    return np.concatenate([program.run(batch)["output"] for batch in batches])


def size(program: Program) -> float:
    """Return the bytes of weights in four bits, scales included, over those of the weights in float32."""
    stored = [node for node in program.calls if node.target is DEQUANTIZE_BLOCKS]
    parts = [program.constants[part.name].nbytes for node in stored for part in node.all_input_nodes]
    found: float = sum(parts) / sum(4 * node.meta["val"].numel() for node in stored)
    return found


def _calibration() -> Iterator[dict[str, np.ndarray]]:
    for sentence in minilm.prose(CALIBRATION_TEXTS):
        yield {name: array[0] for name, array in minilm.tokens([sentence]).items()}


if __name__ == "__main__":
    main()
