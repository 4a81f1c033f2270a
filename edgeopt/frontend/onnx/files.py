"""An ONNX file, checked before any of it is used: nothing outside its folder is read, no size is taken on trust."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgeopt.errors import ToolchainMissing, UserError, quoted
from edgeopt.foreign import add_libraries, foreign, quiet
from edgeopt.frontend.onnx.module import nodes_of

if TYPE_CHECKING:
    import onnx

add_libraries(("onnx",))

LEAST_OPSET, MOST_OPSET = 11, 24
_AGAIN = "export the model to ONNX again, or copy the file again"
_UNSAFE = "do not use this file"


def read_model(path: Path, max_bytes: int) -> onnx.ModelProto:
    """Return a model that the checker of ONNX accepts, its external data loaded and its functions inlined.

    Raises UserError where it is damaged, too large, of an opset that is not supported, or names data outside of its
    folder; ToolchainMissing without onnx.
    """
    try:
        import onnx
        from onnx.external_data_helper import load_external_data_for_model
    except ImportError as error:
        raise ToolchainMissing("onnx", "pip install 'edgeopt[onnx]'") from error
    with foreign(f"'{path}' is not a model of ONNX that can be read", _AGAIN):
        model = onnx.load(path, load_external_data=False)
    total = path.stat().st_size + sum(_external_bytes(path, tensor) for tensor in _tensors(model))
    if total > max_bytes:
        raise UserError(
            f"'{path}' holds {total} bytes (limit {max_bytes})",
            "raise the limit with --max-archive-bytes if you trust the file",
        )
    with foreign(f"'{path}' is not legal ONNX", _AGAIN), quiet():
        onnx.checker.check_model(str(path))
        load_external_data_for_model(model, str(path.parent))
    return _of_known_opset(path, _inlined(model))


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the bodies of functions in the place of their calls."""
    from onnx import inliner

    return inliner.inline_local_functions(model) if model.functions else model


def _of_known_opset(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in an opset that translations know: older ones are converted by ONNX itself."""
    from onnx.version_converter import convert_version

    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), LEAST_OPSET)
    if opset > MOST_OPSET:
        raise UserError(
            f"'{path}' is of opset {opset}; supported: {LEAST_OPSET} to {MOST_OPSET}",
            f"export the model to ONNX with opset {MOST_OPSET} or less",
        )
    if opset >= LEAST_OPSET:
        return model
    with foreign(f"'{path}' is of opset {opset}, and ONNX cannot convert it to {LEAST_OPSET}", _AGAIN):
        return convert_version(model, LEAST_OPSET)


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Return all tensors that may name external data: initializers and attributes, those of inner graphs too."""
    graphs = [model.graph]
    nodes = [*nodes_of(model.graph), *(node for function in model.functions for node in function.node)]
    for node in nodes:
        graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    attributes = [attribute for node in nodes for attribute in node.attribute]
    tensors = [tensor for graph in graphs for tensor in graph.initializer]
    tensors += [attribute.t for attribute in attributes if attribute.HasField("t")]
    return tensors + [tensor for attribute in attributes for tensor in attribute.tensors]


def _external_bytes(path: Path, tensor: onnx.TensorProto) -> int:
    """Return how many bytes of another file a tensor takes.

    Raises UserError where that file is missing, too short, a link, or not within the model's folder.
    """
    from onnx import TensorProto

    if tensor.data_location != TensorProto.EXTERNAL:
        return 0
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    parts = PurePosixPath(location.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
        raise UserError(f"'{path}' names the external data {quoted(location)}, which leaves its folder", _UNSAFE)
    file = path.parent
    for part in parts:
        file = file / part
        if file.is_symlink():
            raise UserError(f"'{path}' names the external data {quoted(location)}, which is a link", _UNSAFE)
    if not file.is_file():
        raise UserError(f"'{path}' needs the file {quoted(location)} beside it", "copy it there, too")
    size = os.path.getsize(file)
    with foreign(f"'{path}' names a part of {quoted(location)} that is not a number of bytes", _UNSAFE):
        offset = int(entries.get("offset", 0))
        length = int(entries["length"]) if "length" in entries else size - offset
    if offset < 0 or length < 0 or offset + length > size:
        raise UserError(
            f"'{path}' names bytes {offset}..{offset + length} of {quoted(location)}, which has {size}", _AGAIN
        )
    return length
