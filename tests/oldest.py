"""The oldest release of everything that edgeopt depends on, as constraints for pip: ``python tests/oldest.py``.

torch is left out, which ``make test TORCH=2.11.0 DEPENDENCIES=oldest`` chooses, and so are ruff and mypy, which judge
the code as it is written today. Needs nothing but Python.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
LEFT_OUT = ("torch", "edgeopt", "ruff", "mypy")
_OLDEST = re.compile(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\w.]+)")


def constraints() -> list[str]:
    """Return ``name==version`` for each lower bound of the dependencies and of the extras, sorted."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    found = {match[1]: match[2] for match in map(_OLDEST.match, wanted) if match}
    return sorted(f"{name}=={version}" for name, version in found.items() if name not in LEFT_OUT)


if __name__ == "__main__":
    print("\n".join(constraints()))
