"""Importing edgeopt, asking for help and loading the targets' classes must not load what they do not need."""

import subprocess
import sys

from edgeopt.cli import COMMANDS

VENDORS = {"onnx", "onnxruntime", "onnxscript", "openvino", "tensorrt", "tvm"}
HEAVY = VENDORS | {"torch", "matplotlib", "numpy", "pydantic", "transformers"}


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after running ``code``."""
    report = "import sys; print('modules:', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("modules:")[2].split())


def test_import_is_free() -> None:
    assert not loaded_by("import edgeopt") & HEAVY


def test_help_is_free() -> None:
    asked = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    call = "try:\n        main(arguments)\n    except SystemExit as done:\n        assert not done.code, arguments"
    assert not loaded_by(f"from edgeopt.cli import main\nfor arguments in {asked}:\n    {call}") & HEAVY


def test_target_classes_load_no_vendor() -> None:
    code = "from edgeopt.plugins import registry\nfor name in registry.target_names():\n    registry.target_class(name)"
    assert not loaded_by(code) & VENDORS
