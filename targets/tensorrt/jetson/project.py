"""The files beside the ONNX: the script that builds and measures on the device, the checker, the plug-ins' sources."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgeopt.kernels.cuda.inventory import ROOT, Plugin, plugin_sources
from edgeopt.plugins.target import Device
from edgeopt.targets.tensorrt.family import MODEL, Model
from edgeopt.targets.tensorrt.features import JetPack, table
from edgeopt.targets.tensorrt.graph import used_plugins
from edgeopt.targets.tensorrt.profiles import Profile

PLUGIN_MODEL = "model_plugins.onnx"
SCRIPT = "build_on_device.sh"
CHECKER = "check_on_device.py"
LIBRARY = "edgeopt_plugins"

_TEMPLATES = Path(__file__).parent / "templates"
_BUILD_MIB = 1024
_COPIES = 4
"""Copies of the weights that a build holds at a time: the parsed graph, the tactics on trial, the engine."""


def write_project(
    folder: Path, device: Device, release: JetPack, sizes: Sequence[Profile], plugins: Model | None, weights: int
) -> list[str]:
    """Write everything but the models into ``folder``; return the files' names."""
    used = used_plugins(plugins.onnx) if plugins is not None else ()
    values = {
        "device": device,
        "release": release,
        "architecture": device.facts["capability"].replace(".", ""),
        "needed_mib": _BUILD_MIB + _COPIES * weights // 2**20,
        "profiles": sizes,
        "model": MODEL,
        "plugin_model": PLUGIN_MODEL if used else "",
        "library": LIBRARY,
        "plugins": used,
        "always_strongly_typed": table()["trtexec"]["always_strongly_typed"],
    }
    names = [_render(name, folder, values) for name in (SCRIPT, CHECKER)]
    (folder / SCRIPT).chmod(0o755)
    return names + (_write_plugins(folder, used, values) if used else [])


def _write_plugins(folder: Path, used: Sequence[Plugin], values: dict[str, object]) -> list[str]:
    target = folder / "plugins"
    target.mkdir()
    for path in plugin_sources(used):
        place = target / path.relative_to(ROOT)
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, place)
    (target / "library.cu").write_text(render_library(used), "utf-8")
    _render("CMakeLists.txt", target, values)
    return sorted(path.relative_to(folder).as_posix() for path in target.rglob("*") if path.is_file())


def render_library(plugins: Sequence[Plugin]) -> str:
    """Return the source that makes a library of plug-ins."""
    kernels = tuple(dict.fromkeys(plugin.kernel for plugin in plugins))
    return _environment().get_template("library.cu.jinja").render(plugins=plugins, kernels=kernels)


def _render(name: str, folder: Path, values: dict[str, object]) -> str:
    (folder / name).write_text(_environment().get_template(f"{name}.jinja").render(values), "utf-8")
    return name


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
