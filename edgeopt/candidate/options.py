"""The options of one export, and which of the given ones belong to the target."""

from __future__ import annotations

import dataclasses
import math
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgeopt.candidate.limits import Limits
from edgeopt.candidate.measure import MeasurePlan
from edgeopt.candidate.quantize import QuantOptions
from edgeopt.errors import UserError, nearest
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.load import LoadOptions
from edgeopt.ir.program import to_numpy
from edgeopt.plugins.target import AUTO, Target, TargetOptions
from edgeopt.recipes.options import SwapOptions

_NOT_UNLESS_NAMED = ("fp4", "mxfp4")
"""Formats that others of the same size surpass in accuracy."""


@dataclass(frozen=True)
class SearchOptions:
    """What precision ``auto`` chooses among. ``format``: formats, all the target mixes where none are named.
    ``binary_steps``: steps of tuning layers of signs before they are judged.
    """

    format: tuple[str, ...] = ()
    binary_steps: int = 200

    def chosen(self, mixes: Sequence[str]) -> tuple[str, ...]:
        """Return the formats among those that a target mixes, in its order.

        Raises UserError where one is not among them, or fewer than two are left.
        """
        for name in self.format:
            if name not in mixes:
                raise UserError(f"the target does not mix format '{name}' with others", nearest(name, mixes))
        chosen = tuple(
            name for name in mixes if name in self.format or (not self.format and name not in _NOT_UNLESS_NAMED)
        )
        if len(chosen) < 2:
            raise UserError(f"there is nothing to choose among {', '.join(chosen)}", f"of: {', '.join(mixes)}")
        return chosen


@dataclass(frozen=True)
class ExportOptions:
    """What ``export`` does beside the target's own options.

    ``load``: how to read the model. ``data``: labeled samples (see edgeopt.calib.data). ``baseline``: also measure the
    plain export. ``strict``: any fallback is an error. ``samples``: how many verification inputs, drawn with ``seed``;
    8 by default, fewer of large and of calibrated models. ``add_passes`` run after the target's exact passes and before
    the first that rounds. ``skip_passes`` run nowhere: neither in the target's pipeline nor as a recovery of INT8 nor
    in a recipe. ``dump``: folder for the program's text after each pass. ``quant``: how to quantize, where the
    precision is int8. ``swap``: the recipe, and how what it swaps is tuned. ``search``: what precision ``auto`` chooses
    among. ``accept_difference``: why an artifact that misses the default limits is taken all the same.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    data: str | None = None
    baseline: bool = True
    strict: bool = False
    samples: int | None = None
    seed: int = 0
    add_passes: tuple[str, ...] = ()
    skip_passes: tuple[str, ...] = ()
    dump: str | None = None
    quant: QuantOptions = field(default_factory=QuantOptions)
    swap: SwapOptions = field(default_factory=SwapOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    limits: Limits = field(default_factory=Limits)
    accept_difference: str | None = None
    measure: MeasurePlan = field(default_factory=MeasurePlan)

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise UserError(f"samples is {self.samples}", "verify on at least one sample")
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}", "give 0 or more")
        if both := sorted({*self.add_passes} & {*self.skip_passes}):
            raise UserError(f"pass '{both[0]}' is both added and skipped", "give one of --add-pass and --skip-pass")
        object.__setattr__(self, "quant", self.quant.without(self.skip_passes))
        if self.accept_difference is not None and not self.accept_difference.strip():
            raise UserError("the reason of --accept-difference is empty", "say why the difference is right")


_PARTS = {
    "load": LoadOptions,
    "quant": QuantOptions,
    "swap": SwapOptions,
    "search": SearchOptions,
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
            for_target[name] = _typed(target.Options, name, value)
        elif name in parts:
            for_parts[parts[name]][name] = _typed(_PARTS[parts[name]], name, value)
        elif name in own:
            chosen[name] = _typed(ExportOptions, name, value)
        else:
            raise UserError(
                f"target '{target.name}' has no option '{name}'", nearest(name, {*own, *parts, *target_fields})
            )
    for part, values in for_parts.items():
        chosen.setdefault(part, dataclasses.replace(getattr(options, part), **values))
    target_options = target.Options(**for_target)
    target.check_options(target_options)
    final = dataclasses.replace(options, **chosen)
    _check_search(target, final, target_options)
    return final, target_options


def _check_search(target: Target, options: ExportOptions, target_options: TargetOptions) -> None:
    """Raise UserError where formats are to be chosen under no limit, or are named but not to be chosen."""
    if target_options.precision == AUTO:
        options.search.chosen(target.mixed_here())
        if not options.limits.stated:
            raise UserError(
                "precision 'auto' has no limit to choose under",
                "state one: --max-drop, --min-accuracy, --max-error, --min-cosine, --max-size or --max-latency",
            )
    elif options.search.format:
        raise UserError(f"--format is given with precision '{target_options.precision}'", "ask for --precision auto")


def _typed(options: type, name: str, value: Any) -> Any:
    """Return an option's value in the type of its field, for files of options and Python may give any.

    Raises UserError where it cannot be.
    """
    if name in (*_SPECS, "sample"):
        return value  # parsed already
    hint = typing.get_type_hints(options)[name]
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    wanted = hint.__name__ if isinstance(hint, type) else str(hint)
    fact = f"option '{name}' is {value!r}, not of type {wanted}"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, hint):
            raise UserError(fact, "give the options in it by their own names")
        return value
    if isinstance(value, float) and math.isnan(value):
        raise UserError(f"option '{name}' is NaN", "give a number")
    try:
        # Leniently read, true is 1 and "no" is false, which nobody means.
        return TypeAdapter(hint).validate_python(value, strict=isinstance(value, bool) or hint is bool)
    except ValidationError as error:
        raise UserError(fact, f"give another value: {error.errors()[0]['msg']}") from error


def _each(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def described(options: ExportOptions, target_options: TargetOptions) -> dict[str, Any]:
    """Return the options that differ from their defaults as JSON values, by flag; arrays are left out."""
    values: dict[str, Any] = {}
    for part in (options, *(getattr(options, name) for name in _PARTS)):
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
