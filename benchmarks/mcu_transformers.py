"""Vision transformers in INT8 on emulated Cortex-M: instructions and arenas of every schedule.

    python -m benchmarks.mcu_transformers [--accuracy] [digits_vit|vit_224 ...]

Prints a Markdown table, in about six minutes. digits_vit is the sample, trained; vit_224 has MCUFormer's shape (images
of 224x224, 196 patches, width 192, depth 12, 3 heads, MLP x4) and random weights, as int8 in the board's external
memory. They run by layers, by tiles, by heads, and by heads from a streamed input, and must return the bytes of the
integer reference. ``--accuracy`` runs digits_vit in QEMU on all held-out digits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import click
import numpy as np
import torch

from edgeopt.ir.program import Program
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import LIBRARY, MicroOptions
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.runtime import qemu as emulate
from edgeopt.targets.mcu.runtime.firmware import Firmware
from samples import digits
from samples.digits_vit import DigitsVit
from tests.targets.mcu.quantized import quantize

BOARDS = {"M4": "mps2-an386", "M7": "mps2-an500", "M55": "mps3-an547"}
SCHEDULES = {
    "layers": MicroOptions(schedule="layers"),
    "tiles": MicroOptions(),
    "heads": MicroOptions(schedule="heads"),
    "heads, streamed": MicroOptions(schedule="heads", stream_input=True),
}
EXTERNAL = {"optimize": "size", "external_weights": ".qspi"}
COLUMNS = [
    "model", "core", "schedule", "M instr.", "M MACs", "per MAC", "arena", "measured", "stack", "code", "constants",
]  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A quantized model, the samples it runs, what is set for it, and the cores it runs on."""

    program: Program
    samples: np.ndarray
    options: dict[str, str]
    cores: tuple[str, ...]


@cache
def trained() -> tuple[DigitsVit, digits.Digits]:
    """The sample's ViT and its digits."""
    torch.manual_seed(0)
    data, model = digits.load(), DigitsVit()
    digits.train(model, data, epochs=30, learning_rate=2e-3)
    return model, data


def digits_vit() -> Subject:
    """The trained ViT, calibrated on 200 digits."""
    model, data = trained()
    program = quantize(model, data.train_images[:200].numpy())
    return Subject(program, data.test_images.numpy(), {}, ("M4", "M55"))


def vit_224() -> Subject:
    """MCUFormer's shape with random weights."""
    torch.manual_seed(0)
    model = DigitsVit(224, 16, 192, 3, 12, 4, 3)
    model.classifier = torch.nn.Linear(192, 1000)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    samples = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    return Subject(quantize(model, samples), samples, EXTERNAL, ("M7",))


MODELS = {"digits_vit": digits_vit, "vit_224": vit_224}


@dataclass(frozen=True)
class Ran:
    """One run: int8 inputs and outputs, samples along axis 0, the outputs as real values, the cells of a row."""

    inputs: np.ndarray
    outputs: np.ndarray
    values: np.ndarray
    cells: list[str]


def run(subject: Subject, core: str, options: MicroOptions, x: np.ndarray) -> Ran:
    """Compile for a core and run on ``x``."""
    target = resolve(f"mcu:{BOARDS[core]}")
    with tempfile.TemporaryDirectory() as name:
        memory = target.compile(subject.program, Path(name), options).memory
        firmware = Firmware(Path(name) / LIBRARY, target.device, target.device.facts["core"])
    source, sink = firmware.network.inputs[0], firmware.network.outputs[0]
    q = source.to_int8(x)
    measured = firmware.run({source.name: q})
    firmware.close()
    count, macs = emulate.cost(target.device, measured.ticks), firmware.network.macs
    cells = [f"{count / 1e6:.3f}", f"{macs / 1e6:.3f}", f"{count / macs:.2f}", f"{memory['arena']:,}",
             f"{measured.arena_bytes:,}", f"{measured.stack_bytes:,}", f"{memory['code']:,}",
             f"{memory['weights']:,}"]  # fmt: skip
    y = measured.outputs[sink.name]
    return Ran(q, y, sink.to_real(y), cells)


def rows(model: str, subject: Subject) -> Iterator[list[str]]:
    """A row for each core and schedule. Raises click.ClickException where a byte differs from the integer reference."""
    graph, _ = lower_program(subject.program)
    for core in subject.cores:
        for schedule, options in SCHEDULES.items():
            chosen = replace(options, **subject.options)  # type: ignore[arg-type]
            ran = run(subject, core, chosen, subject.samples[:1])
            expected = graph.run({graph.inputs[0]: ran.inputs[0]})[graph.outputs[0]]
            if (ran.outputs[0] != expected).any():
                raise click.ClickException(f"{model} on {core} by {schedule}: not the bytes of the integer reference")
            yield [model, core, schedule, *ran.cells]


def accuracy() -> str:
    """Top-1 of digits_vit on all held-out digits, in QEMU and in float."""
    model, data = trained()
    subject = digits_vit()
    logits = run(subject, "M4", MicroOptions(), subject.samples).values
    right = float(np.mean(logits.argmax(axis=1) == data.test_labels.numpy()))
    in_float = digits.accuracy(model, data)
    return f"digits_vit, {len(logits)} held-out digits: {right:.2%} in QEMU (M4), {in_float:.2%} in float"


def print_row(cells: Sequence[str]) -> None:
    """Print a row of the table."""
    click.echo("| " + " | ".join(cells) + " |")


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(list(MODELS)))
@click.option("--accuracy", "with_accuracy", is_flag=True, help="Also digits_vit's accuracy on all held-out digits.")
def main(models: tuple[str, ...], with_accuracy: bool) -> None:
    """Print the table of models, cores and schedules."""
    print_row(COLUMNS)
    print_row(["---"] * len(COLUMNS))
    for model in models or MODELS:
        for row in rows(model, MODELS[model]()):
            print_row(row)
    if with_accuracy:
        click.echo(f"\n{accuracy()}")


if __name__ == "__main__":
    main()
