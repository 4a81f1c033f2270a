"""edgeopt: from a trained PyTorch model to a verified, measured bundle on edge hardware.

The names below load on first use, so that ``import edgeopt`` is free.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOMES = {
    "EdgeoptError": "errors",
    "Pass": "ir.pass_base",
    "PassError": "errors",
    "PassResult": "ir.pass_base",
    "Pipeline": "passes.pipeline",
    "Program": "ir.program",
    "Rewrite": "ir.rewrite",
    "Rule": "ir.rewrite",
    "Run": "records.run",
    "Target": "plugins.target",
    "ToolchainMissing": "errors",
    "Unsupported": "errors",
    "UserError": "errors",
    "export": "deploy.export",
    "verify": "deploy.bundle",
}

__all__ = [
    "EdgeoptError",
    "Pass",
    "PassError",
    "PassResult",
    "Pipeline",
    "Program",
    "Rewrite",
    "Rule",
    "Run",
    "Target",
    "ToolchainMissing",
    "Unsupported",
    "UserError",
    "__version__",
    "export",
    "verify",
]

if TYPE_CHECKING:  # what type checkers know of the same names
    from edgeopt.deploy.bundle import verify
    from edgeopt.deploy.export import export
    from edgeopt.errors import EdgeoptError, PassError, ToolchainMissing, Unsupported, UserError
    from edgeopt.ir.pass_base import Pass, PassResult
    from edgeopt.ir.program import Program
    from edgeopt.ir.rewrite import Rewrite, Rule
    from edgeopt.passes.pipeline import Pipeline
    from edgeopt.plugins.target import Target
    from edgeopt.records.run import Run
else:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'edgeopt' has no attribute '{name}'")
        return getattr(import_module(f"edgeopt.{_HOMES[name]}"), name)
