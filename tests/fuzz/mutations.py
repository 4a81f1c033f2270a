"""Ways to damage a file: its bytes, the members of an archive, the values of a JSON document, the lines of a text."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, -0.0, float("nan"), float("inf"))
_TEXTS = ("", "x" * 5000, "../../outside", "\u0000", "__import__('os')", "float32", "nan", "%s%n", "\ud800")
_SMALL_MEMBER = 200_000
"""Bytes up to which a member of an archive is damaged inside; larger ones are left whole, for speed."""


def flip_bits(content: bytes, choice: random.Random) -> bytes:
    """Turn one to eight bits."""
    damaged = bytearray(content)
    for _ in range(choice.randint(1, 8)):
        damaged[choice.randrange(len(damaged))] ^= 1 << choice.randrange(8)
    return bytes(damaged)


def truncate(content: bytes, choice: random.Random) -> bytes:
    """Cut the end off."""
    return content[: choice.randrange(len(content))]


def overwrite(content: bytes, choice: random.Random) -> bytes:
    """Replace a stretch by zeros, ones, noise, or a stretch from elsewhere."""
    size = choice.randint(1, max(1, len(content) // 4))
    place = choice.randrange(len(content))
    source = choice.randrange(len(content))
    stretch = choice.choice(
        (bytes(size), b"\xff" * size, choice.randbytes(size), content[source : source + size], b"9" * size)
    )
    return content[:place] + stretch + content[place + size :]


def insert(content: bytes, choice: random.Random) -> bytes:
    """Put a stretch of the file, or noise, in between."""
    place, source, size = choice.randrange(len(content)), choice.randrange(len(content)), choice.randint(1, 64)
    stretch = choice.choice((content[source : source + size], choice.randbytes(size)))
    return content[:place] + stretch + content[place:]


BYTES: tuple[Mutation, ...] = (flip_bits, truncate, overwrite, insert)


def damage_json(content: bytes, choice: random.Random) -> bytes:
    """Change one to three values of a JSON document; what is not JSON is damaged as bytes."""
    try:
        document = json.loads(content)
    except ValueError:
        return choice.choice(BYTES)(content, choice)
    for _ in range(choice.randint(1, 3)):
        document = _changed(document, choice)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def damage_text(content: bytes, choice: random.Random) -> bytes:
    """Drop, double, swap or change lines of a text."""
    lines = content.decode().splitlines(keepends=True)
    place, other = choice.randrange(len(lines)), choice.randrange(len(lines))
    action = choice.randrange(5)
    if action == 0:
        del lines[place]
    elif action == 1:
        lines.insert(other, lines[place])
    elif action == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif action == 3 and "=" in lines[place]:
        key = lines[place].split("=")[0]
        lines[place] = f"{key}= {json.dumps(choice.choice((*_NUMBERS[:8], *_TEXTS[:5], [], {}, True)))}\n"
    else:
        return choice.choice(BYTES)(content, choice)
    return "".join(lines).encode()


def damage_archive(content: bytes, choice: random.Random) -> bytes:
    """Damage one member of a zip archive, or its name, and write it anew with checksums that hold; else its bytes."""
    if not content.startswith(b"PK"):
        return choice.choice(BYTES)(content, choice)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = choice.choice(sorted(members))
    action = choice.randrange(8)
    if action == 0:
        del members[name]
    elif action == 1:
        members[choice.choice(("../outside", "/outside", f"{name}/x", name.upper(), "a/b/../../../c"))] = members.pop(
            name
        )
    elif action == 2:
        members[name] = members[choice.choice(sorted(members))]
    elif 0 < len(members[name]) <= _SMALL_MEMBER:
        is_json = members[name][:1] in (b"{", b"[")
        mutate = damage_json if is_json and action > 3 else choice.choice(BYTES)
        members[name] = mutate(members[name], choice)
    damaged = io.BytesIO()
    with zipfile.ZipFile(damaged, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return damaged.getvalue()


def _changed(document: Any, choice: random.Random) -> Any:
    """Return the document with one value replaced, removed or moved."""
    document = copy.deepcopy(document)
    holders = list(_holders(document))
    if not holders:
        return _value(choice)
    holder = choice.choice(holders)
    key = choice.choice(sorted(holder)) if isinstance(holder, dict) else choice.randrange(len(holder))
    action = choice.randrange(4)
    if action == 0:
        del holder[key]
    elif action == 1:
        holder[key] = copy.deepcopy(choice.choice(holders))
    elif action == 2 and isinstance(holder[key], str):
        holder[key] = choice.choice((holder[key][::-1], holder[key] + "x", holder[key][:1], choice.choice(_TEXTS)))
    else:
        holder[key] = _value(choice)
    return document


def _value(choice: random.Random) -> Any:
    return choice.choice((*_NUMBERS, *_TEXTS, None, True, [], {}, [[]], {"": None}))


def _holders(document: Any) -> list[Any]:
    inside = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    found = [document] if isinstance(document, dict | list) and document else []
    return [*found, *(holder for item in inside for holder in _holders(item))]
