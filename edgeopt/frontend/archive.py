"""What a model file is, told by its content, and whether it is safe to open.

Nothing here unpickles or executes anything. A zip archive is checked before torch sees it: intact members,
no member that leaves the folder, a bounded unpacked size, and, for torch.export archives, symbolic
expressions made of known names only (torch evaluates them).
"""

from __future__ import annotations

import json
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

from edgeopt.errors import UserError, quoted
from edgeopt.files import reading
from edgeopt.frontend.pickles import check_pickles

DEFAULT_MAX_BYTES = 16 * 2**30
"""Largest unpacked size of an archive that is accepted unless told otherwise."""

_SAVE_HINT = "save the PyTorch model with torch.export.save(torch.export.export(model, inputs), path)"
_LARGEST_RATIO = 200
_SYMBOL = re.compile(r"(s|u|zuf|zf)\d+")
_NUMBER = re.compile(r"\d+(\.\d*)?(e[+-]?\d+)?\b")
_KEYWORDS = {
    *("positive", "nonnegative", "negative", "nonpositive", "integer", "real", "extended_real", "rational", "finite"),
    *("infinite", "zero", "nonzero", "even", "odd", "commutative", "complex", "hermitian", "precision"),
}
_FUNCTIONS = {
    *("Integer", "Float", "Rational", "Symbol", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv"),
    *("ModularIndexing", "Where", "Identity", "IntTrueDiv", "FloatTrueDiv", "PowByNatural", "FloatPow", "TruncToInt"),
    *("ToFloat", "RoundToInt", "RoundDecimal", "CeilToInt", "FloorToInt", "LShift", "RShift", "Pow", "Add", "Mul"),
    *(
        "Equality",
        "Unequality",
        "StrictLessThan",
        "LessThan",
        "StrictGreaterThan",
        "GreaterThan",
        "Abs",
        "TruncToFloat",
    ),
    *("Piecewise", "ExprCondPair", "ITE", "true", "false", "IsNonOverlappingAndDenseIndicator", "sqrt"),
    *(f"OpaqueUnaryFn_{name}" for name in ("sqrt", "cos", "sin", "tan", "exp", "log", "log2", "tanh")),
    *(f"BitwiseFn_bitwise_{name}" for name in ("and", "or", "xor")),
    *("Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "True", "False", "oo", "int_oo", "floor", "ceiling"),
}


class Format(Enum):
    """Kinds of model files."""

    EXPORTED = "torch.export archive"
    TORCHSCRIPT = "TorchScript archive"
    CHECKPOINT = "torch.save checkpoint"
    SAFETENSORS = "safetensors"
    HUGGING_FACE = "Hugging Face folder"
    ONNX = "ONNX"
    MODULE = "nn.Module"


def identify(path: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> Format:
    """Return what ``path`` holds, after checking that it is safe to open.

    Raises UserError where the file is missing, empty, truncated, unsafe or of no known kind.
    """
    if not path.exists():
        raise UserError(f"'{path}' does not exist", "check the path of the model file")
    if path.is_dir():
        return _identify_folder(path)
    if not path.is_file():
        raise UserError(f"'{path}' is not a regular file", "copy the model to a file, and give that")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"'{path}' is empty (0 bytes)", _SAVE_HINT)
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PK"):
        return _identify_archive(path, max_bytes)
    if _is_safetensors(head, size):
        return Format.SAFETENSORS
    if path.suffix == ".onnx" or _is_onnx(head):
        return Format.ONNX
    if head[:1] == b"\x80" or b"ustar" in head:
        return Format.CHECKPOINT
    raise UserError(f"'{path}' is not a file that a PyTorch model is saved in{_kind_of(head)}", _SAVE_HINT)


def _identify_folder(path: Path) -> Format:
    if (path / "config.json").exists():
        return Format.HUGGING_FACE
    raise UserError(
        f"'{path}' is a folder without config.json, so not one of Hugging Face",
        "give the model file itself, or a folder that save_pretrained wrote",
    )


def _kind_of(head: bytes) -> str:
    """Return `` but ...`` for files of other tools, told by their first bytes."""
    tools = {b"TFL3": "LiteRT", b"\x89HDF": "Keras (HDF5)", b"GGUF": "llama.cpp (GGUF)"}
    names = [name for mark, name in tools.items() if mark in head[:8]]
    return f" but one of {names[0]}, whose models cannot be given" if names else f" (first bytes {head[:8]!r})"


def _is_onnx(head: bytes) -> bool:
    """Return whether a file begins as ONNX does: the version of its representation, then the producer or the opset."""
    return len(head) > 2 and head[0] == 0x08 and 3 <= head[1] <= 20 and head[2] in b"\x12\x3a\x42"


def _is_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= size - 8


def _identify_archive(path: Path, max_bytes: int) -> Format:
    with reading(path, "copy or save the file again"), zipfile.ZipFile(path) as archive:
        _check_members(path, archive, max_bytes)
        names = {PurePosixPath(*PurePosixPath(n).parts[1:]).as_posix() for n in archive.namelist()}
        if any(re.fullmatch(r"models/[^/]+\.json|serialized_exported_program\.json", n) for n in names):
            _check_expressions(path, archive)
            return Format.EXPORTED
        if "constants.pkl" in names and any(n.startswith("code/") for n in names):
            check_pickles(archive)
            return Format.TORCHSCRIPT
    if "data.pkl" in names:
        return Format.CHECKPOINT
    raise UserError(f"'{path}' is a zip archive, but holds no model", _SAVE_HINT)


def _check_members(path: Path, archive: zipfile.ZipFile, max_bytes: int) -> None:
    total = 0
    for member in archive.infolist():
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if ".." in parts or member.filename.startswith(("/", "\\")) or (parts and ":" in parts[0]) or is_link:
            raise UserError(f"'{path}' holds '{member.filename}', which leaves its folder", "do not use this file")
        total += member.file_size
        if member.file_size > _LARGEST_RATIO * max(member.compress_size, 1024):
            raise UserError(
                f"'{path}' holds '{member.filename}', which unpacks {member.compress_size} to {member.file_size} bytes",
                "do not use this file: trained weights do not compress like this",
            )
    if total > max_bytes:
        raise UserError(
            f"'{path}' unpacks to {total} bytes (limit {max_bytes})",
            "raise the limit with --max-archive-bytes if you trust the file",
        )
    if (damaged := archive.testzip()) is not None:
        raise UserError(f"'{path}' is damaged: member '{damaged}' fails its checksum", "copy or save the file again")


def operators(path: Path) -> set[str]:
    """Return the operators that a torch.export archive calls: ``aten.conv2d.default``."""
    with zipfile.ZipFile(path) as archive:
        targets = {name for content in _contents(archive) for name in _texts(content, "target")}
    return {name.removeprefix("torch.ops.") for name in targets if re.fullmatch(r"torch\.ops(\.\w+){2,3}", name)}


def _contents(archive: zipfile.ZipFile) -> Iterator[Any]:
    return (json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json"))


def _texts(value: Any, wanted: str, key: str = "") -> list[str]:
    """Return all texts under the key ``wanted``, however deep."""
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in _texts(item, wanted, name)]
    if isinstance(value, list):
        return [found for item in value for found in _texts(item, wanted, key)]
    return [value] if key == wanted and isinstance(value, str) else []


def _check_expressions(path: Path, archive: zipfile.ZipFile) -> None:
    for content in _contents(archive):
        for expression in _texts(content, "expr_str"):
            _check_expression(path, expression)


def _check_expression(path: Path, expression: str) -> None:
    # Names of symbols may be quoted, and numbers; nothing else may.
    bare = re.sub(rf"'({_SYMBOL.pattern})'", r"\1", expression)
    bare = re.sub(rf"'-?{_NUMBER.pattern}'|\b{_NUMBER.pattern}", "0", bare)
    names = re.findall(r"[A-Za-z_]\w*", bare)
    known = all(_SYMBOL.fullmatch(name) or name in _FUNCTIONS or name in _KEYWORDS for name in names)
    if not known or re.search(r"[^\w\s+\-*/%(),.<>=&|~]|\.\s*[A-Za-z_]|__", bare):
        raise UserError(f"'{path}' holds the symbolic expression {quoted(expression)}", "do not use this file")
