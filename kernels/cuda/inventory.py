"""The one list of CUDA kernels and plug-ins: torch operator, ONNX node, plug-in, kernel.

The ONNX writer, the generated plug-in library, the Python plug-ins and the tests read names, namespace and version from
here, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parent
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
    ``.cuh`` and its launcher ``eo_<kernel>``. ``form``: the launcher's code for this node where one kernel has several.
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
        """The plug-in's source."""
        return ROOT / "plugins" / f"{self.kernel}_plugin.cu"


_ATTENTION = ("query", "key", "value")
_EPSILON = (Attribute("epsilon", "float"),)

PLUGINS: tuple[Plugin, ...] = (
    Plugin("edgeopt::linear_attention", "LinearAttention", "linear_attention", _ATTENTION, _EPSILON),
    Plugin("edgeopt::linear_attention", "CausalLinearAttention", "linear_attention", _ATTENTION, _EPSILON, form=1),
)


def plugin_sources(plugins: Iterable[Plugin]) -> list[Path]:
    """Return the files that a library of these plug-ins is built from, sorted."""
    own = {path for plugin in plugins for path in (plugin.header, plugin.source)}
    return sorted(own | {ROOT / "common.cuh", ROOT / "plugins" / "plugin.h"})


def kernels() -> tuple[str, ...]:
    """Return the kernels' names."""
    return tuple(dict.fromkeys(plugin.kernel for plugin in PLUGINS))
