"""What an export itself costs: seconds and peak memory of ``edgeopt export``, each in a process of its own.

    python -m benchmarks.export_cost [--json] [MODEL ...]

"x size" is the peak resident memory, less that of a process that only imports torch, over the size of the model's
weights; "private" leaves out the mapped files, which the system can drop and read again. Small models show the fixed
cost of tracing, compiling and reporting; the bar of 4 is for the 300 MB one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil
import torch
from torch import nn

from benchmarks.table import show
from tests.models import minilm, mlperf_tiny

MIB = 2**20
BAR = 4.0
POLL_SECONDS = 0.02
TARGETS = ("onnx", "openvino")

Built = tuple[nn.Module, dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Cost:
    """What a process took: wall seconds, peak resident bytes, and the peak without mapped files (sampled)."""

    seconds: float
    peak: int
    private: int


class WideMlp(nn.Module):
    """Six square linear layers with residuals: 79 M parameters, 302 MiB."""

    def __init__(self, width: int = 3630, depth: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch x width tensor to one of the same shape."""
        for layer in self.layers:
            x = x + nn.functional.gelu(layer(x))
        return x


def _resnet8() -> Built:
    return mlperf_tiny.build("resnet8"), {"x": torch.from_numpy(mlperf_tiny.example_inputs("resnet8"))}


def _minilm() -> Built:
    tokens = minilm.tokens(minilm.SENTENCES[-1:])
    return minilm.build(), {name: torch.from_numpy(array) for name, array in tokens.items()}


def _wide_mlp() -> Built:
    model = WideMlp().eval()
    return model, {"x": torch.randn(1, model.get_parameter("layers.0.weight").shape[1])}


MODELS: dict[str, Callable[[], Built]] = {"resnet8": _resnet8, "minilm": _minilm, "wide-mlp": _wide_mlp}


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(tuple(MODELS)))
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def main(models: tuple[str, ...], as_json: bool) -> None:
    """Export every model to every target and print what that took."""
    torch_alone = run_python("-c", "import torch")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in models or MODELS:
            path = Path(folder) / f"{name}.pt2"
            size = save(name, path)
            for target in TARGETS:
                click.echo(f"{name} on {target}", err=True)
                rows.append(measure(name, path, size, target, torch_alone))
            path.unlink()
    show(rows, as_json)


def save(name: str, path: Path) -> int:
    """Write a model as a torch.export archive and return the bytes of its weights."""
    model, inputs = MODELS[name]()
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (), inputs), path)
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def measure(name: str, path: Path, size: int, target: str, torch_alone: Cost) -> dict[str, Any]:
    """Export once from the command line, with all defaults, and return the row."""
    command = ("-c", "from edgeopt.cli import main; main()", "export", path, "--target", target)
    cost = run_python(*command, "-o", path.with_suffix(""))
    return {
        "model": name,
        "size MiB": size / MIB,
        "target": target,
        "seconds": cost.seconds,
        "peak MiB": cost.peak // MIB,
        "torch alone MiB": torch_alone.peak // MIB,
        "x size": (cost.peak - torch_alone.peak) / size,
        "x size, private": (cost.private - torch_alone.private) / size,
        "bar": BAR if size > 100 * MIB else None,
    }


def run_python(*arguments: object) -> Cost:
    """Run Python to its end and return what it took."""
    command = [sys.executable, *map(str, arguments)]
    start = time.perf_counter()
    sink = os.open(os.devnull, os.O_WRONLY)
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, sink, 1)])
    os.close(sink)
    watched, private, ended = psutil.Process(child), 0, 0
    while not ended:
        time.sleep(POLL_SECONDS)
        memory = watched.memory_info()
        private = max(private, memory.rss - memory.shared)
        ended, status, usage = os.wait4(child, os.WNOHANG)
    if status:
        raise click.ClickException(f"exit status {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    return Cost(time.perf_counter() - start, usage.ru_maxrss * 1024, private)


if __name__ == "__main__":
    main()
