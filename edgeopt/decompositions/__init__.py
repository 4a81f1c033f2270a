"""Operators in plain forms: what exporters or runtimes compute wrongly, written by operators that they compute rightly.

One file an idea; each function is torch, and equals the operator that it stands for on every input. They apply to all
targets that take a program through an exporter, after the passes: passes see the operators whole.
"""

from __future__ import annotations

from edgeopt.decompositions import (  # noqa: F401
    angles,
    attention,
    convolutions,
    distances,
    division,
    dtypes,
    embedding_bag,
    extrema,
    indexing,
    integers,
    interpolation,
    logarithms,
    losses,
    matrices,
    max_pools,
    padding,
    places,
    pools,
    recurrent,
    spaces,
    views,
    windows,
)
from edgeopt.decompositions.refused import refused
from edgeopt.decompositions.writing_out import TABLE, is_needed, write_out

__all__ = ["TABLE", "is_needed", "refused", "write_out"]
