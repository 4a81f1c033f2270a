"""What trtexec exported on a device, read into the record of a run: times, profile, layer information, the device.

The files are told apart by their content, those of TensorRT 10 and 11 alike. Latency is the GPU's compute time where
data transfers were left out, host to device to host otherwise. Nothing is computed that the files do not say, but the
statistics, which are those of every other latency in a report.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeopt.errors import UserError
from edgeopt.files import reason
from edgeopt.records.latency import Latency
from edgeopt.records.layers import Layer, executed_precision, with_shares
from edgeopt.records.run import Run

_PRECISIONS = {
    "float": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "int8",
    "int4": "int4",
    "fp8": "fp8",
    "fp4": "fp4",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}


@dataclass
class Measured:
    """The content of the files: single inferences, layers with times, layers with types, facts of the device."""

    times: list[dict[str, float]] = field(default_factory=list)
    profile: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    device: dict[str, Any] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)


def read(files: Iterable[Path]) -> Measured:
    """Read exported files.

    Raises UserError for one that is unreadable or of no known form, and where there are no times.
    """
    found = Measured()
    for path in files:
        try:
            _sort(json.loads(path.read_text("utf-8")), found, path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"'{path}' cannot be read ({reason(error)})", "give the files that trtexec exported"
            ) from error
    if not found.times:
        raise UserError("the files hold no times of inferences", "give trtexec's --exportTimes file among them")
    return found


def merged(run: Run, found: Measured) -> Run:
    """Return the record with what was measured on the device in place of what was not."""
    latency = _latency(found)
    target = replace(
        run.target,
        hardware=_hardware(run, found.device),
        precision_executed=executed_precision(latency.layers) or run.target.precision_executed,
    )
    return replace(
        run,
        target=target,
        latency=latency,
        baseline=None,
        notes=tuple(note for note in run.notes if not note.startswith("measured on ")) + _notes(found),
        versions={**run.versions, **({"tensorrt": str(v)} if (v := found.device.get("tensorrt")) else {})},
        limits=tuple(one.judged(latency.median) if one.unit == "latency" else one for one in run.limits),
    )


def _sort(content: Any, found: Measured, path: Path) -> None:
    if isinstance(content, list) and content and _is_time(content[0]):
        found.times = content
    elif isinstance(content, list) and content and isinstance(content[0], Mapping) and "count" in content[0]:
        found.profile = content[1:]
    elif isinstance(content, dict) and isinstance(content.get("Layers"), list):
        found.layers = [_named(layer) for layer in content["Layers"]]
    elif isinstance(content, dict) and "gpu_clock_mhz" in content:
        found.device = content
    elif isinstance(content, dict) and {"relative", "bound", "ok"} <= content.keys():
        found.check = content
    else:
        raise UserError(f"'{path}' is none of the files that trtexec exports", "give its times, profile or layer info")


def _is_time(entry: Any) -> bool:
    return isinstance(entry, Mapping) and {"computeMs", "latencyMs"} <= entry.keys()


def _named(layer: Any) -> dict[str, Any]:
    # Without detailed verbosity a layer is its name alone.
    return {"Name": layer} if isinstance(layer, str) else dict(layer)


def _latency(found: Measured) -> Latency:
    costs = [float(entry[_clock(found)]) for entry in found.times]
    return Latency.of(costs, unit="ms", warmup=0, threads=1, layers=_layers(found))


def _clock(found: Measured) -> str:
    has_transfers = found.device.get("data_transfers", True) and any(entry.get("h2dMs") for entry in found.times)
    return "latencyMs" if has_transfers else "computeMs"


def _layers(found: Measured) -> tuple[Layer, ...]:
    """Return the profiled layers with their types, or those of the layer information without times."""
    facts = {layer["Name"]: layer for layer in found.layers}
    rows = found.profile or [{"name": name} for name in facts]
    return with_shares(
        [
            Layer(
                row["name"],
                facts.get(row["name"], {}).get("LayerType", "unknown"),
                layer_precision(facts.get(row["name"], {})),
                row.get("medianMs", row.get("averageMs")),
            )
            for row in rows
        ]
    )


def layer_precision(layer: Mapping[str, Any]) -> str | None:
    """Return the type that a layer reads, which is what it computes in.

    TensorRT 10 says ``Format/Datatype: Row major Int8``, later ones say ``Datatype: Int8`` beside ``Format``.
    """
    for tensor in (*layer.get("Inputs", ()), *layer.get("Outputs", ())):
        told = str(tensor.get("Datatype") or tensor.get("Format/Datatype") or "").lower().replace(",", " ")
        known = [_PRECISIONS[word] for word in told.split() if word in _PRECISIONS]
        if known:
            return known[-1]
    return None


def _hardware(run: Run, device: Mapping[str, Any]) -> str:
    clock = device.get("gpu_clock_mhz")
    facts = [f"{clock:g} MHz" if clock else "", f"power mode {device['power_mode']}" if "power_mode" in device else ""]
    told = ", ".join(filter(None, facts))
    return f"{device.get('device', run.target.device)}{f' ({told})' if told else ''}"


def _notes(found: Measured) -> tuple[str, ...]:
    device, notes = found.device, []
    clock = "GPU compute time" if _clock(found) == "computeMs" else "latency with data transfers"
    place = ", ".join(f"{name} {device[name]}" for name in ("device", "jetpack", "tensorrt") if name in device)
    graph = ""
    if "cuda_graph" in device:
        graph = ", with a CUDA graph" if device["cuda_graph"] else ", without a CUDA graph"
    notes.append(f"measured on {place or 'the device'} by trtexec: {clock}{graph}")
    if found.check:
        worst = max(found.check["relative"].values(), default=0.0)
        said = "agree" if found.check["ok"] else "DISAGREE"
        notes.append(
            f"measured on the device: golden outputs {said}, {worst:.1e} relative, bound {found.check['bound']:g}"
        )
    return tuple(notes)
