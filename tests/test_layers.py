"""Import direction: a module imports its own layer and those below; vendors' SDKs stay with their target."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Bottom first. A name stands for the module and what is below it; within a layer, imports must not go in circles.
LAYERS = (
    ("edgeopt", "attribution", "errors", "files", "foreign", "naming"),
    ("report",),  # knows the Run record alone, so the core can write reports
    ("program", "compare", "canonical", "exported", "pass_base", "provenance", "registry", "sources"),
    (
        "analysis.float64",
        "analysis.wider_floats",
        "analysis.noise",
        "analysis.slices",
        "quant",
        "ops",
        "exactness",
        "ledger",
        "pipeline",
        "rewrite",
    ),
    (
        "analysis",
        "decompositions",
        "folding",
        "structures",
        "passes",
        "recipes",
        "tune",
        "onnx",
        "onnx_names",
        "onnx_session",
        "complex_numbers",
        "fourier",
        "calib",
        "kernels",
        "archive",
        "architecture",
        "inputs",
        "samples",
        "trace",
        "torchscript",
        "foreign_quantization",
        "load",
        "target",
        "threads",
        "verification",
    ),
    ("targets",),
    (
        "accuracy",
        "blame",
        "bundle",
        "candidate",
        "cost",
        "crossover",
        "deploy",
        "evidence",
        "fixed_shapes",
        "gate",
        "inspection",
        "measure",
        "options",
        "prepare",
        "quantisation",
        "record",
        "search",
        "substitution",
        "swapping",
        "testing",
        "verdicts",
    ),
    ("cli",),
)
LISTS = ("passes.standard",)  # puts its siblings in order
VENDORS = {
    "onnx": ("onnx", "onnx_names", "ops", "targets.onnx", "targets.openvino", "targets.tensorrt"),
    "onnxscript": ("onnx", "ops", "targets.openvino", "targets.tensorrt"),
    "onnxruntime": ("onnx_session",),
    "openvino": ("targets.openvino",),
    "tensorrt": ("targets.tensorrt", "kernels.cuda"),
    "tensorrt_rtx_bindings": ("targets.tensorrt.rtx",),
    "tvm": ("targets.tvm_micro",),
}


def modules() -> dict[str, Path]:
    """Every module by its name without ``edgeopt.``; the package itself is ``edgeopt``."""
    found = {}
    for folder, prefix in (("edgeopt", ()), *((name, (name,)) for name in ("targets", "kernels", "calib"))):
        for path in (ROOT / folder).rglob("*.py"):
            parts = [*prefix, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts).removesuffix("__init__").removesuffix(".") or "edgeopt"] = path
    return found


MODULES = modules()


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """Yield what a module imports, without those for type checking, and whether that is inside a function."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(MODULES[module].read_text()), False)]
    while pending:
        node, inside = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = ".".join(filter(None, [_package(module, node.level), node.module]))
            yield from ((f"{source}.{alias.name}", inside) for alias in node.names)
        elif not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            pending += [(child, inside) for child in ast.iter_child_nodes(node)]


def _package(module: str, level: int) -> str:
    """Return the package that so many dots mean in a module; an empty string for an absolute import."""
    parts = ["edgeopt", *module.split(".")]
    up = level - (MODULES[module].name == "__init__.py")
    return ".".join(parts[: len(parts) - up]) if level else ""


def own_imports(module: str) -> set[str]:
    """Return the project's modules that a module imports: ``edgeopt.program.Program`` is ``program``."""
    found = set()
    for name, _ in imports(module):
        if name.split(".")[0] == "edgeopt":
            inner = name.removeprefix("edgeopt").removeprefix(".")
            owner = inner if inner in MODULES else inner.rpartition(".")[0]
            found.add(owner or "edgeopt")
    return found - {module}


def is_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def layer(module: str) -> int:
    found = [index for index, names in enumerate(LAYERS) if is_in(module, *names)]
    assert found, f"{module} has no layer: give it one in LAYERS"
    return found[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    upward = [used for used in own_imports(module) if layer(used) > layer(module)]
    assert not upward, f"{module} imports from a higher layer: {upward}"


def test_no_circles() -> None:
    # A package and its modules may import each other: that is how a package presents them.
    graph = {m: {u for u in own_imports(m) if not is_in(m, u) and not is_in(u, m)} for m in MODULES}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(("passes.", "targets.")) and m not in LISTS])
def test_siblings_stay_apart(module: str) -> None:
    kind, own = module.split(".")[:2]
    others = [u for u in own_imports(module) if u.startswith(f"{kind}.") and u.split(".")[1] != own]
    assert not others, f"{module} imports its siblings {others}: move what they share down a layer"


@pytest.mark.parametrize("module", MODULES)
def test_vendors_stay_with_their_target(module: str) -> None:
    for name, inside in imports(module):
        if homes := VENDORS.get(vendor := name.split(".")[0]):
            assert is_in(module, *homes), f"{module} imports {vendor}, which belongs to {homes}"
            assert inside, f"{module} imports {vendor} when it is loaded: do it inside the function that needs it"
