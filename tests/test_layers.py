"""The rooms and what each may import: a room sees those before it in ``ROOMS``, never those behind, nor in circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each room imports only those above it in this list, imports for type checking included.
ROOMS = (
    "errors",
    "files",
    "foreign",
    "sources",
    "options",
    "records",
    "ir",
    "quant",
    "ops",
    "analysis",
    "passes",
    "calib",
    "decompositions",
    "passes.exact",
    "passes.quantization",
    "distill",
    "passes.substitution",
    "plugins",
    "onnx",
    "frontend",
    "verification",
    "report",
    "kernels",
    "targets",
    "recipes",
    "candidate",
    "search",
    "deploy",
    "cli",
)
# The package's own names load on first use; its version is known to all.
ENTRANCE = "edgeopt"
MODULES_AT_THE_ENTRANCE = 6
ORDER = ("passes.exact.standard",)  # puts its siblings in order
VENDORS = {
    "onnx": ("onnx", "frontend.onnx", "ops", "targets.onnx", "targets.openvino", "targets.tensorrt"),
    "onnxscript": ("onnx", "ops", "targets.openvino", "targets.tensorrt"),
    "onnxruntime": ("onnx.session",),
    "openvino": ("targets.openvino",),
    "tensorrt": ("targets.tensorrt", "kernels.cuda"),
    "tensorrt_rtx_bindings": ("targets.tensorrt.rtx",),
    "tvm": ("targets.mcu.tvm",),
}


def modules() -> dict[str, Path]:
    """Every module by its name without ``edgeopt.``; the package itself is ``edgeopt``."""
    found = {}
    for folder, prefix in (("edgeopt", ()), *((name, (name,)) for name in ("targets", "kernels", "calib"))):
        for path in (ROOT / folder).rglob("*.py"):
            parts = [*prefix, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts).removesuffix("__init__").removesuffix(".") or ENTRANCE] = path
    return found


MODULES = modules()


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """Yield what a module imports, and whether that is inside a function."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(MODULES[module].read_text()), False)]
    while pending:
        node, inside = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = ".".join(filter(None, [_package(module, node.level), node.module]))
            yield from ((f"{source}.{alias.name}", inside) for alias in node.names)
        else:
            inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            pending += [(child, inside) for child in ast.iter_child_nodes(node)]


def _package(module: str, level: int) -> str:
    """Return the package that so many dots mean in a module; an empty string for an absolute import."""
    parts = ["edgeopt", *module.split(".")]
    up = level - (MODULES[module].name == "__init__.py")
    return ".".join(parts[: len(parts) - up]) if level else ""


def own_imports(module: str) -> set[str]:
    """Return the project's modules that a module imports: ``edgeopt.ir.program.Program`` is ``ir.program``."""
    found = set()
    for name, _ in imports(module):
        if name.split(".")[0] == "edgeopt":
            inner = name.removeprefix("edgeopt").removeprefix(".")
            owner = inner if inner in MODULES else inner.rpartition(".")[0]
            found.add(owner or ENTRANCE)
    return found - {module, ENTRANCE}


def is_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def room(module: str) -> int:
    """Return the place of a module's room in ``ROOMS``: of the rooms that hold it, the innermost."""
    found = [index for index, name in enumerate(ROOMS) if is_in(module, name)]
    assert found, f"{module} has no room: give it one in ROOMS"
    return max(found, key=lambda index: len(ROOMS[index]))


@pytest.mark.parametrize("module", [module for module in MODULES if module != ENTRANCE])
def test_a_room_sees_those_before_it(module: str) -> None:
    behind = [used for used in own_imports(module) if room(used) > room(module)]
    assert not behind, f"{module} imports from a room behind its own: {behind}"


def test_the_entrance_holds_few_modules() -> None:
    assert len(list((ROOT / "edgeopt").glob("*.py"))) <= MODULES_AT_THE_ENTRANCE


def test_no_circles() -> None:
    # A package and its modules may import each other: that is how a package presents them.
    graph = {m: {u for u in own_imports(m) if not is_in(m, u) and not is_in(u, m)} for m in MODULES}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("targets.")])
def test_targets_stay_apart(module: str) -> None:
    own = module.split(".")[1]
    others = [used for used in own_imports(module) if used.startswith("targets.") and used.split(".")[1] != own]
    assert not others, f"{module} imports other targets: {others}: move what they share down a room"


@pytest.mark.parametrize("module", MODULES)
def test_vendors_stay_with_their_target(module: str) -> None:
    for name, inside in imports(module):
        if homes := VENDORS.get(vendor := name.split(".")[0]):
            assert is_in(module, *homes), f"{module} imports {vendor}, which belongs to {homes}"
            assert inside or _for_types(module), f"{module} imports {vendor} when it is loaded: do it in a function"


def _for_types(module: str) -> bool:
    return "if TYPE_CHECKING:" in MODULES[module].read_text()
