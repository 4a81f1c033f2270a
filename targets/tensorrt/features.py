"""What each JetPack, TensorRT and GPU has: ``features.toml``, and why a precision is refused."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from edgeopt.errors import UserError, nearest


@dataclass(frozen=True, order=True)
class Version:
    """A version or compute capability such as ``10.3``, ordered by its numbers."""

    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read numbers between dots."""
        return cls(tuple(int(part) for part in text.split(".")))

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers))


@dataclass(frozen=True)
class JetPack:
    """A release of JetPack: its TensorRT, its CUDA, and the compute capabilities it runs on."""

    name: str
    tensorrt: Version
    cuda: str
    capabilities: tuple[str, ...]


@cache
def table() -> dict[str, Any]:
    """Return the content of ``features.toml``."""
    return tomllib.loads((resources.files(__package__) / "features.toml").read_text("utf-8"))


def jetpack(name: str, device: str, capability: str) -> JetPack:
    """Return a release of JetPack.

    Raises UserError where there is none of that name, or none for the device's compute capability.
    """
    releases = table()["jetpack"]
    fitting = [known for known, facts in releases.items() if capability in facts["capabilities"]]
    if name not in releases:
        raise UserError(f"there is no JetPack '{name}'", nearest(name, fitting))
    if name not in fitting:
        raise UserError(f"JetPack {name} does not run on '{device}'", f"choose one of: {', '.join(fitting)}")
    facts = releases[name]
    tensorrt = Version.parse(facts["tensorrt"])
    return JetPack(name, tensorrt, facts["cuda"], tuple(facts["capabilities"]))


def check_precision(precision: str, capability: str, place: str, tensorrt: Version | None = None) -> None:
    """Raise UserError, with the alternative, where a GPU or its release of TensorRT lacks a precision.

    ``place`` names the device; without ``tensorrt`` only the GPU is asked.
    """
    needs = table()["precision"][precision]
    lacks = []
    if Version.parse(capability) < Version.parse(needs["capability"]):
        lacks.append(f"its compute capability is {capability}, {precision} starts at {needs['capability']}")
    if tensorrt is not None and tensorrt < Version.parse(needs["tensorrt"]):
        lacks.append(f"its TensorRT is {tensorrt}, {precision} starts at {needs['tensorrt']}")
    if lacks:
        instead = _instead(precision, capability)
        raise UserError(f"'{place}' has no {precision}: {'; '.join(lacks)}", f"choose --precision {instead}")


def _instead(precision: str, capability: str) -> str:
    """Return the nearest precision that the compute capability has."""
    rows = table()["precision"]
    precision = rows[precision]["instead"]
    while Version.parse(rows[precision]["capability"]) > Version.parse(capability):
        precision = rows[precision]["instead"]
    return precision
