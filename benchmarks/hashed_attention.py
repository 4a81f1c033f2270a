"""What learned hash functions are worth: blocks of EcoFormer's attention before and after equal tuning, by start.

    python -m benchmarks.hashed_attention [--part digits|minilm] [--model FOLDER] [--steps 150] [--json]

``digits``  the three attentions of a ViT of 196 tokens on handwritten digits, trained here for 20 epochs, or of FOLDER
``minilm``  the six of all-MiniLM-L6-v2 without its padding mask, on docstrings of 128 tokens

Every start has the same samples, steps and rate; a seed draws anchors and planes, and orders the steps. About half an
hour on one core; ``--start``, repeatable, takes fewer.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

from benchmarks.docstrings import docstrings
from benchmarks.table import show
from edgeopt.distill.batches import split
from edgeopt.distill.distil import Distillation
from edgeopt.distill.loop import TuneOptions
from edgeopt.frontend.load import load
from edgeopt.ir.metrics import Sample
from edgeopt.ir.program import Program
from edgeopt.passes.substitution.hashed_attention import STARTS, HashedAttention
from edgeopt.plugins.testing import to_program
from samples import digits_vit_196
from tests.models import minilm

Row = dict[str, Any]

PARTS = ("digits", "minilm")
SEEDS = (0, 1, 2)
IMAGES, TEXTS, TOKENS = 640, 96, 128


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this; repeatable.")
@click.option("--start", "starts", multiple=True, type=click.Choice(STARTS), help="Only this; repeatable.")
@click.option("--model", type=click.Path(path_type=Path), help="Folder of a trained digits_vit_196.")
@click.option("--steps", default=150, show_default=True, help="Steps that each start is tuned for.")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(parts: tuple[str, ...], starts: tuple[str, ...], model: Path | None, steps: int, as_json: bool) -> None:
    """Measure hashed attention's blocks before and after tuning, by where their hash functions come from."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    for part in parts or PARTS:
        program, samples = vit(model) if part == "digits" else encoder()
        show(list(rows(part, program, samples, starts or STARTS, steps)), as_json)


def rows(part: str, program: Program, samples: list[Sample], starts: tuple[str, ...], steps: int) -> Iterator[Row]:
    """Yield the mean relative error of the blocks over what is held out, of every start and seed."""
    training, held_out = split(samples)
    for seed in SEEDS:
        for start in starts:
            swapped = HashedAttention(start=start, seed=seed, force=True)(program)
            # No early end: all take as many steps.
            options = TuneOptions(steps=steps, seconds=1e9, patience=steps, seed=seed)
            distillation = Distillation(program, training, held_out, options)
            spent = time.process_time()
            distillation.started(swapped.program, swapped.swaps)
            spent = time.process_time() - spent
            tuned = distillation.run(swapped.program, swapped.swaps, whole=False)
            errors = (list(found.values()) for found in (tuned.blocks_before, tuned.blocks_after))
            before, after = (float(np.mean(found)) for found in errors)
            row = {part: start, "seed": seed, "before": before, "after": after, "CPU s to learn": spent}
            click.echo(row, err=True)
            yield row


def vit(folder: Path | None) -> tuple[Program, list[Sample]]:
    """Return the trained ViT and images to tune on."""
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            folder = Path(scratch)
            click.echo("training the ViT", err=True)
            digits_vit_196.main(folder, epochs=20)
        images = np.load(folder / "tune.npz")["images"][:IMAGES]
        return load(folder / "model.pt2").program, [{"images": images[i : i + 1]} for i in range(len(images))]


class Unmasked(nn.Module):
    """MiniLM's hidden states of texts that fill all tokens."""

    def __init__(self) -> None:
        super().__init__()
        bert = minilm.build().get_submodule("bert")
        self.embeddings, self.encoder = bert.get_submodule("embeddings"), bert.get_submodule("encoder")

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return [batch, tokens, 384]."""
        y: torch.Tensor = self.encoder(self.embeddings(input_ids)).last_hidden_state
        return y


def encoder() -> tuple[Program, list[Sample]]:
    """Return MiniLM and pieces of text, all of 128 tokens."""
    ids: list[int] = []
    for text in docstrings():
        ids += [int(i) for i in minilm.tokens([text])["input_ids"][0][1:-1]]
        if len(ids) >= TEXTS * TOKENS:
            break
    texts = np.array(ids[: TEXTS * TOKENS]).reshape(TEXTS, 1, TOKENS)
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = to_program(Unmasked(), (torch.from_numpy(np.concatenate(texts[:2])),), (batch,))
    return program, [{"input_ids": text} for text in texts]


if __name__ == "__main__":
    main()
