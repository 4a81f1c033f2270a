"""Commands killed at random moments: no half of a bundle is left, and the same command ends as if nothing had been.

``python -m tests.fuzz.kills --count 200``. Each command runs in a forked process, for importing torch takes longer
than most of them.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch

from edgeopt.calib import calibrate
from edgeopt.cli import main as command_line
from edgeopt.deploy.bundle import MANIFEST, verify
from tests.fuzz.surfaces import model

TEMPORARY = ".edgeopt-"
"""How the names of temporary folders begin."""

SLOWEST = 300.0
"""Seconds after which a command that was not killed counts as hanging, and nothing more is tried."""


class Hanging(Exception):
    """A command does not end."""


@dataclass(frozen=True)
class Command:
    """``arguments`` of the command line, run in a folder; ``result`` reads what must be the same every time."""

    name: str
    arguments: tuple[str, ...]
    result: Callable[[Path], object]
    share: float = 0.3
    """Of all kills."""


def _bundle(folder: Path) -> object:
    """Return the manifest of the whole bundle in ``folder``, or None where there is none."""
    bundle = folder / "bundle"
    if not bundle.exists():
        return None
    found = verify(bundle)
    assert found.ok, f"a bundle that does not verify: {found}"
    return json.loads((bundle / MANIFEST).read_text("utf-8"))


def _ranges(folder: Path) -> object:
    file = folder / "ranges.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else None


def _sound(folder: Path) -> object:
    """Return whether there is a bundle; which formats a search chose depends on what it measured."""
    return _bundle(folder) is not None or None


_EXPORT = ("export", "model.pt2", "-o", "bundle", "--no-baseline", "--max-seconds", "0.02")
_TUNING = ("--tune", "60", "--checkpoint", "tuning", "--force")
COMMANDS = (
    Command("export", (*_EXPORT, "--target", "reference"), _bundle),
    Command("calibrate", ("calibrate", "model.pt2", "--data", "data.npz", "-o", "ranges.json"), _ranges),
    Command(
        "tune",
        (*_EXPORT, "--target", "reference", "--recipe", "tuned.toml", "--tune-data", "data.npz", *_TUNING),
        _bundle,
    ),
    Command(
        "search",
        (*_EXPORT, "--target", "onnx", "--precision", "auto", "--calib", "data.npz", "--max-error", "0.5"),
        _sound,
        share=0.1,
    ),
)

_RECIPE = """[[passes]]
name = "replace-layernorm"
[tune]
budget = "60"
check-every = 1
patience = 1000
"""


class Normed(torch.nn.Module):
    """The network of all files here behind a norm, which is what the recipe replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rest = torch.nn.LayerNorm(4), model()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.rest(self.norm(x))
        return y


def prepare(folder: Path) -> None:
    """Write the files that the commands read."""
    exported = torch.export.export(Normed().eval(), (torch.zeros(1, 4),))
    torch.export.save(exported, folder / "model.pt2")
    np.savez(folder / "data.npz", x=np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32))
    (folder / "tuned.toml").write_text(_RECIPE)


def _run(arguments: tuple[str, ...], folder: Path) -> None:
    """Run a command in this process, in ``folder`` with a cache of its own; how it ended is the exit code."""
    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    calibrate.SAVE_SECONDS = 0.0
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable(log)
    command_line(list(arguments))


def start(command: Command, folder: Path) -> BaseProcess:
    """Return the running process of a command, forked from one that has done what all commands do first.

    A process that has run a model has threads, and what they hold locked stays locked in its forks.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.kills", "tests.fuzz.warm"])
    process = context.Process(target=_run, args=(command.arguments, folder))
    process.start()
    return process


def ended(process: BaseProcess, folder: Path) -> int:
    """Wait for a process; return its exit code, or the negative number of the signal that ended it."""
    process.join(SLOWEST)
    if process.exitcode is None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGABRT)  # writes where it hangs into the log
        process.join()
        raise Hanging(f"a command was not done in {SLOWEST:.0f} s: {_end(folder)}")
    return process.exitcode


def _end(folder: Path) -> str:
    return (folder / "log").read_text("utf-8")[-2000:]


def left(folder: Path) -> list[str]:
    """Return what lies in the folder that no command is to leave there; a kill may leave a hidden temporary folder."""
    known = {"model.pt2", "data.npz", "tuned.toml", "bundle", "ranges.json", "cache", "log"}
    names = {path.name for path in folder.iterdir()} - known
    return sorted(name for name in names if not name.startswith((TEMPORARY, "tuning.")))


def check(command: Command, kills: int, choice: random.Random) -> list[str]:
    """Kill a command at random moments, run it to its end after each, and return what was not as it must be."""
    with tempfile.TemporaryDirectory(prefix="edgeopt-kills-") as name:
        whole = Path(name)
        prepare(whole)
        begun = time.monotonic()
        if (code := ended(start(command, whole), whole)) != 0:
            return [f"{command.name} ends with {code} when it is not killed: {_end(whole)}"]
        seconds, expected = time.monotonic() - begun, command.result(whole)
        return [fault for _ in range(kills) for fault in _killed(command, choice.uniform(0, seconds), expected)]


def _killed(command: Command, moment: float, expected: object) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="edgeopt-kills-") as name:
        folder = Path(name)
        prepare(folder)
        process = start(command, folder)
        time.sleep(moment)
        process.kill()
        process.join()
        where = f"{command.name} killed after {moment:.3f} s"
        try:
            if command.result(folder) not in (None, expected):
                return [f"{where} left another result"]
            if (code := ended(start(command, folder), folder)) != 0:
                return [f"{where}, then ends with {code}: {_end(folder)}"]
            if command.result(folder) != expected:
                return [f"{where} ends with another result than without the kill"]
        except Hanging:
            raise
        except Exception as error:
            return [f"{where}: {type(error).__name__}: {error}"]
        return [f"{where} leaves {name}" for name in left(folder)]


def main() -> int:
    """Kill each command its share of ``--count`` times; what was found is JSON on stdout."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    choice = random.Random(arguments.seed)
    faults = [f for command in COMMANDS for f in check(command, round(command.share * arguments.count), choice)]
    print(json.dumps(faults, indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
