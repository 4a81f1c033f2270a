"""The one list of CUDA kernels and plug-ins: torch operator, ONNX node, plug-in, kernel.

The ONNX writer, the generated plug-in library, the Python plug-ins and the tests read names, namespace and version from
here, so that they cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent
_INCLUDE = re.compile(r'^#include "([\w./]+)"$', re.MULTILINE)

NAMESPACE = "edgeopt"
VERSION = "1"


@dataclass(frozen=True)
class Attribute:
    """An attribute of the ONNX node, a field of the plug-in, and an argument of the launcher."""

    name: str
    kind: Literal["float", "int"]


@dataclass(frozen=True)
class Plugin:
    """An operator of ours as plug-in.

    ``operator``: torch's schema name. ``node``: the ONNX node and the plug-in, which have one name. ``kernel``: the
    ``.cuh`` and its launcher ``eo_<kernel>``. ``inputs`` in the node's order. ``form``: which of a kernel's forms.
    """

    operator: str
    node: str
    kernel: str
    inputs: tuple[str, ...]
    attributes: tuple[Attribute, ...] = ()
    form: int = 0
    namespace: str = NAMESPACE
    version: str = VERSION

    @property
    def header(self) -> Path:
        """The file that defines the kernel."""
        return ROOT / f"{self.kernel}.cuh"

    @property
    def source(self) -> Path:
        """The file that defines the plug-in."""
        return ROOT / "plugins" / f"{self.kernel}_plugin.h"

    @property
    def cpp_class(self) -> str:
        """The plug-in's class in C++."""
        return "".join(part.capitalize() for part in self.kernel.split("_")) + "Plugin"


_ATTENTION = ("query", "key", "value")
_EPSILON = (Attribute("epsilon", "float"),)
_FP4 = (Attribute("factor", "float"), Attribute("group", "int"), Attribute("scale_kind", "int"))

PLUGINS: tuple[Plugin, ...] = (
    Plugin("edgeopt::linear_attention", "LinearAttention", "linear_attention", _ATTENTION, _EPSILON),
    Plugin("edgeopt::linear_attention", "CausalLinearAttention", "linear_attention", _ATTENTION, _EPSILON, form=1),
    Plugin("edgeopt::rms_norm", "RmsNorm", "rms_norm", ("x", "weight"), _EPSILON),
    Plugin("edgeopt::fp4_linear", "Fp4Linear", "fp4_linear", ("x", "weight", "scales", "bias"), _FP4),
    Plugin("edgeopt::binary_linear", "BinaryLinear", "binary_linear", ("x", "shift", "weight", "scale", "bias")),
)


def plugin_sources(plugins: Iterable[Plugin]) -> list[Path]:
    """Return the files that a library of these plug-ins is built from, sorted."""
    found: set[Path] = set()
    open_files = {plugin.source for plugin in plugins}
    while open_files:
        path = open_files.pop()
        found.add(path)
        open_files |= {(path.parent / name).resolve() for name in _INCLUDE.findall(path.read_text("utf-8"))} - found
    return sorted(found)


def kernels() -> tuple[str, ...]:
    """Return the kernels' names."""
    return tuple(dict.fromkeys(plugin.kernel for plugin in PLUGINS))
