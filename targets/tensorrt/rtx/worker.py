"""Builds one engine in a process of its own: ``worker.py REQUEST``, run by ``build.py`` in the model's folder.

TensorRT-RTX orders what is independent in a network by where it happens to lie in memory. In a fresh process, with
addresses that are not randomized, that is the same place each time, and the engine the same bytes. And what makes
TensorRT-RTX end its process (a plug-in, some malformed models) ends no export.

REQUEST is JSON: ``model`` (a file), ``capabilities``, ``profiles``. On stdout come a line of JSON (``layers`` and
``seconds``, or ``failed`` and ``why``) and then the engine. This file imports nothing of edgeopt.
"""

import ctypes
import json
import os
import sys
import time
from typing import Any

_KEEP, _NO_RANDOM_ADDRESSES = 0xFFFFFFFF, 0x0040000
_SHAPELESS = frozenset({"CONSTANT", "SHAPE"})


class Refused(Exception):
    """What TensorRT-RTX did not do, ``parse`` or ``build``, and its words."""


def main() -> None:
    """Build what the request asks for."""
    _fix_addresses()
    # What TensorRT-RTX prints is log: stdout is ours.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        told, plan = _build(json.loads(sys.argv[1]))
    except Refused as refused:
        told, plan = {"failed": refused.args[0], "why": refused.args[1]}, b""
    answer.write(json.dumps(told).encode() + b"\n" + plan)
    answer.close()


def _fix_addresses() -> None:
    """Begin again without randomized addresses, where the system has and allows that."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "personality"):
        return
    now = libc.personality(ctypes.c_ulong(_KEEP))
    if now == -1 or now & _NO_RANDOM_ADDRESSES or libc.personality(ctypes.c_ulong(now | _NO_RANDOM_ADDRESSES)) == -1:
        return
    os.execv(sys.executable, [sys.executable, *sys.argv])


def _build(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    import tensorrt_rtx_bindings as trt

    logger = _collecting_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(request["model"]):
        raise Refused("parse", "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(request["capabilities"])
    for index, capability in enumerate(request["capabilities"]):
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}"), index)
    if request["profiles"]:
        profile = builder.create_optimization_profile()
        for one in request["profiles"]:
            profile.set_shape(one["name"], one["least"], one["usual"], one["largest"])
        config.add_optimization_profile(profile)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Refused("build", logger.errors[-1] if logger.errors else "it gives no reason")
    return {"layers": _layers(network), "seconds": time.perf_counter() - start}, bytes(plan)


def _collecting_logger(trt: Any) -> Any:
    class Collecting(trt.ILogger):  # type: ignore[misc]  # TensorRT, where it is installed, says nothing of types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Collecting()


def _layers(network: Any) -> list[dict[str, str]]:
    found = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = str(layer.type).rpartition(".")[2]
        if kind not in _SHAPELESS and layer.num_outputs:
            precision = _precision(layer.get_output(0).dtype)
            found.append({"name": layer.name, "type": kind.lower(), "precision": precision})
    return found


def _precision(dtype: Any) -> str:
    name = str(dtype).rpartition(".")[2]
    return {"FLOAT": "fp32", "HALF": "fp16"}.get(name, name.lower())


if __name__ == "__main__":
    main()
