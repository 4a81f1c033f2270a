"""How deep the stack gets: the longest path through the call graph, as the compiler wrote it down.

GCC's ``-fcallgraph-info=su`` leaves a ``.ci`` file beside each object: functions with their frames, and who calls whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

ASSEMBLY_FRAME = 96
"""Most that a kernel in assembly pushes: the compiler sees no frame in it."""

LIBRARY_FRAME = 160
"""Taken for functions of the C library and the compiler's own, whose frames are not known: memcpy, divisions, expf."""

_NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', re.MULTILINE)
_FRAME = re.compile(r"\\n(\d+) bytes")
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', re.MULTILINE)


def deepest(graphs: Iterable[str], root: str) -> int:
    """Return the bytes of stack that ``root`` and all that it calls take at most, from the texts of ``.ci`` files."""
    frames: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for text in graphs:
        for title, label in _NODE.findall(text):
            if found := _FRAME.search(label):
                frames[title] = int(found.group(1))
        for source, target in _EDGE.findall(text):
            calls.setdefault(source, set()).add(target)

    @cache
    def depth(function: str) -> int:
        if function not in frames:
            return LIBRARY_FRAME
        below = max(map(depth, calls.get(function, ())), default=0)
        return max(frames[function], 0 if function in calls else ASSEMBLY_FRAME) + below

    return depth(root)
