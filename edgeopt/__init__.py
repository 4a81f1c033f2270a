"""edgeopt: from a trained PyTorch model to a verified, measured bundle on edge hardware.

The names below load on first use, so that ``import edgeopt`` is free.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "EdgeoptError": "errors",
    "Pass": "ir.pass_base",
    "PassError": "errors",
    "PassResult": "ir.pass_base",
    "Pipeline": "passes.pipeline",
    "Program": "ir.program",
    "Rewrite": "ir.rewrite",
    "Rule": "ir.rewrite",
    "Run": "report.run",
    "Target": "plugins.target",
    "ToolchainMissing": "errors",
    "Unsupported": "errors",
    "UserError": "errors",
    "export": "deploy.export",
    "verify": "deploy.bundle",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgeopt' has no attribute '{name}'")
    return getattr(import_module(f"edgeopt.{_HOMES[name]}"), name)
