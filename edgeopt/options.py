"""The options of one export, and which of the given ones belong to the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeopt.errors import UserError
from edgeopt.inputs import DynamicSpec, InputSpec
from edgeopt.load import LoadOptions
from edgeopt.measure import MeasurePlan
from edgeopt.program import to_numpy
from edgeopt.quantisation import QuantOptions
from edgeopt.registry import nearest
from edgeopt.swapping import SwapOptions
from edgeopt.target import Target, TargetOptions


@dataclass(frozen=True)
class Limits:
    """Stated limits: latency in the target's unit (median), bytes of the artifact, accuracy and its loss against
    the original (0 to 1), relative error, cosine of the angle between the outputs and the original's.
    """

    max_latency: float | None = None
    max_size: int | None = None
    min_accuracy: float | None = None
    max_drop: float | None = None
    max_error: float | None = None
    min_cosine: float | None = None

    @property
    def on_answers(self) -> bool:
        """Whether a limit is on what the model answers, which layers can be given back for."""
        stated = (self.min_accuracy, self.max_drop, self.max_error, self.min_cosine)
        return any(limit is not None for limit in stated)


@dataclass(frozen=True)
class ExportOptions:
    """What ``export`` does beside the target's own options.

    ``load``: how to read the model. ``data``: labelled samples (see edgeopt.calib.data). ``baseline``: also
    measure the plain export. ``strict``: any fallback is an error. ``samples``: verification inputs, drawn with
    ``seed``. ``add_passes`` run after the target's, ``skip_passes`` do not run. ``dump``: folder for the
    program's text after each pass. ``quant``: how to quantise, where the precision is int8. ``swap``: the recipe,
    and how what it swaps is tuned.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    data: str | None = None
    baseline: bool = True
    strict: bool = False
    samples: int = 3
    seed: int = 0
    add_passes: tuple[str, ...] = ()
    skip_passes: tuple[str, ...] = ()
    dump: str | None = None
    quant: QuantOptions = field(default_factory=QuantOptions)
    swap: SwapOptions = field(default_factory=SwapOptions)
    limits: Limits = field(default_factory=Limits)
    measure: MeasurePlan = field(default_factory=MeasurePlan)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"samples is {self.samples}", "verify on at least one sample")


_PARTS = {
    "load": LoadOptions,
    "quant": QuantOptions,
    "swap": SwapOptions,
    "limits": Limits,
    "measure": MeasurePlan,
}

_SPECS: dict[str, type[InputSpec | DynamicSpec]] = {"inputs": InputSpec, "dynamic": DynamicSpec}


def split_options(
    target: Target, options: ExportOptions, overrides: Mapping[str, Any]
) -> tuple[ExportOptions, TargetOptions]:
    """Sort overrides by name into the export's options, their parts, and the target's.

    Specs of inputs and dynamic dimensions may be written as on the command line. The device's own options are the
    target's defaults. Raises UserError for unknown names and illegal values.
    """
    own = {f.name for f in dataclasses.fields(ExportOptions)}
    parts = {f.name: part for part, cls in _PARTS.items() for f in dataclasses.fields(cls)}
    target_fields = {f.name for f in dataclasses.fields(target.Options)}
    chosen: dict[str, Any] = {}
    for_parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for_target: dict[str, Any] = dict(target.device.options)
    for name, value in overrides.items():
        if name == "inputs" and isinstance(value, Mapping):
            name, value = "sample", {key: to_numpy(array) for key, array in value.items()}
        elif name in _SPECS:
            value = tuple(_SPECS[name].parse(spec) if isinstance(spec, str) else spec for spec in _each(value))
        if name in target_fields:
            for_target[name] = value
        elif name in parts:
            for_parts[parts[name]][name] = value
        elif name in own:
            chosen[name] = value
        else:
            raise UserError(
                f"target '{target.name}' has no option '{name}'", nearest(name, {*own, *parts, *target_fields})
            )
    for part, values in for_parts.items():
        chosen.setdefault(part, dataclasses.replace(getattr(options, part), **values))
    target_options = target.Options(**for_target)
    target.check_options(target_options)
    return dataclasses.replace(options, **chosen), target_options


def _each(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def described(options: ExportOptions, target_options: TargetOptions) -> dict[str, Any]:
    """Return the options that differ from their defaults as JSON values, by flag; arrays are left out."""
    values: dict[str, Any] = {}
    for part in (options, options.load, options.quant, options.swap, options.limits, options.measure):
        values |= _changed(part)
    return {**values, **dataclasses.asdict(target_options)}


def _changed(part: Any) -> dict[str, Any]:
    defaults = type(part)()
    changed = {}
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        # Sample arrays are in the golden file; where to write texts changes nothing.
        if f.name in (*_PARTS, "sample", "dump") or value == getattr(defaults, f.name):
            continue
        changed[f.name.replace("_", "-")] = [str(v) for v in value] if isinstance(value, tuple) else value
    return changed
