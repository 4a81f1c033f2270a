"""The options of one export, and which of the given ones belong to the target."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeopt.candidate.limits import Limits
from edgeopt.candidate.measure import MeasurePlan
from edgeopt.candidate.quantize import QuantOptions
from edgeopt.errors import UserError, nearest, quoted
from edgeopt.frontend.load import LoadOptions
from edgeopt.ir.program import to_numpy
from edgeopt.options import changed, declared, described, option
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.target import AUTO, Target, TargetOptions
from edgeopt.recipes.options import SwapOptions

_BINARY = "binary"
_NOT_UNLESS_NAMED = ("fp4", "mxfp4")
"""Formats that others of the same size surpass in accuracy."""


@dataclass(frozen=True)
class SearchOptions:
    """What precision ``auto`` chooses among. ``format``: formats, all the target mixes where none are named.
    ``binary_steps``: steps of tuning layers of signs before they are judged.
    """

    format: tuple[str, ...] = option((), "Format that --precision auto may choose; repeatable.", metavar="NAME")
    binary_steps: int = option(200, "Steps of tuning binary layers before they are judged.", metavar="N")

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
    8 by default, fewer of large and of calibrated models. ``add_passes`` run at the end of their stage: what rewrites
    floats before the first pass that rounds. ``skip_passes`` run nowhere: neither in the target's pipeline nor as a
    recovery of INT8 nor in a recipe. ``dump``: folder for the program's text after each pass. ``quant``: how to
    quantize, where the precision is int8. ``swap``: the recipe, and how what it swaps is tuned. ``search``: what
    precision ``auto`` chooses among. ``accept_difference``: why an artifact that misses the default limits is taken all
    the same.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    data: str | None = option(None, "Labeled samples (.npz with 'labels') to state the accuracy on.", metavar="PATH")
    quant: QuantOptions = field(default_factory=QuantOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    swap: SwapOptions = field(default_factory=SwapOptions)
    baseline: bool = option(True, "Also measure the plain export (default: on).")
    strict: bool = option(False, "Make any fallback an error.")
    limits: Limits = field(default_factory=Limits)
    accept_difference: str | None = option(None, "Take what misses the default limits; say why.", metavar="REASON")
    samples: int | None = option(
        None, "Verification inputs (default 8, of large or calibrated models 3 or more).", metavar="N"
    )
    seed: int = option(0, "Seed of random verification inputs (default 0).", metavar="N")
    measure: MeasurePlan = field(default_factory=MeasurePlan)
    add_passes: tuple[str, ...] = option(
        (), "Run this pass too, the last of its stage.", metavar="NAME", flag="--add-pass"
    )
    skip_passes: tuple[str, ...] = option((), "Do not run this pass.", metavar="NAME", flag="--skip-pass")
    dump: str | None = option(None, "Write the program's text after each pass.", metavar="DIR")

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise UserError(f"samples is {self.samples}", "verify on at least one sample")
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}", "give 0 or more")
        if both := sorted({*self.add_passes} & {*self.skip_passes}):
            raise UserError(f"pass '{both[0]}' is both added and skipped", "give one of --add-pass and --skip-pass")
        object.__setattr__(self, "quant", self.quant.without(self.skip_passes))
        for flag, limit in (("--min-accuracy", self.limits.min_accuracy), ("--max-drop", self.limits.max_drop)):
            if limit is not None and self.data is None:
                raise UserError(f"{flag} is given without labeled samples", "name them with --data")
        if self.accept_difference is not None and not self.accept_difference.strip():
            raise UserError("the reason of --accept-difference is empty", "say why the difference is right")


def split_options(
    target: Target, options: ExportOptions, overrides: Mapping[str, Any]
) -> tuple[ExportOptions, TargetOptions]:
    """Sort overrides by name into the export's options, their parts, and the target's.

    A part may be given whole: ``measure=MeasurePlan(...)``. Arrays given as ``inputs`` are a sample. The device's own
    options are the target's defaults. Raises UserError for unknown names and illegal values, and where the target
    declares an option that every export has.
    """
    own, targets = declared(ExportOptions), declared(target.Options)
    if clash := sorted(own.keys() & targets.keys()):
        raise UserError(f"target '{target.name}' declares option '{clash[0]}', which every export has", "rename it")
    parts: dict[str, Any] = {}
    for_export: dict[str, Any] = {}
    for_target: dict[str, Any] = dict(target.device.options)
    for name, value in overrides.items():
        if name in ("inputs", "sample") and isinstance(value, Mapping):
            name, value = "sample", {key: _array(key, array) for key, array in value.items()}
        if name in targets:
            for_target[name] = targets[name].value(value)
        elif name in own:
            for_export[name] = value
        elif name in _parts():
            parts[name] = _part(name, value)
        else:
            raise UserError(f"target '{target.name}' has no option '{name}'", nearest(name, {*own, *targets}))
    final = changed(dataclasses.replace(options, **parts), for_export)
    target_options = target.Options(**for_target)
    target.check_options(target_options)
    _check_search(target, final, target_options)
    return final, target_options


def _array(name: str, value: Any) -> np.ndarray:
    try:
        return value if isinstance(value, np.ndarray) else to_numpy(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"input '{name}' is {quoted(value)}, not an array", "give a numpy array or a tensor") from error


def _parts() -> dict[str, type]:
    """Return the dataclasses that the export's options consist of, by name."""
    hints = typing.get_type_hints(ExportOptions)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and dataclasses.is_dataclass(hint)}


def _part(name: str, value: Any) -> Any:
    if not isinstance(value, kind := _parts()[name]):
        fact = f"option '{name}' is {value!r}, not of type {kind.__name__}"
        raise UserError(fact, "give the options in it by their own names")
    return value


def _check_search(target: Target, options: ExportOptions, target_options: TargetOptions) -> None:
    """Raise UserError where formats are to be chosen under no limit, or are named but not to be chosen."""
    search, precision, formats = options.search, target_options.precision, tuple[str, ...]()
    if precision == AUTO:
        formats = search.chosen(target.mixed_here())
        if not options.limits.stated:
            raise UserError(
                "precision 'auto' has no limit to choose under",
                "state one: --max-drop, --min-accuracy, --max-error, --min-cosine, --max-size or --max-latency",
            )
    elif search.format:
        raise UserError(f"--format is given with precision '{precision}'", "ask for --precision auto")
    if search.binary_steps != SearchOptions().binary_steps and _BINARY not in formats:
        raise UserError(
            "--binary-steps is given, and no layer may be binary", "ask for --precision auto --format binary and others"
        )


def check_quantization(target: Target, options: ExportOptions, target_options: TargetOptions) -> None:
    """Raise UserError where layers are put on integers without data, or where options for that are given without."""
    quant, precision = options.quant, target_options.precision
    if precision == AUTO and quant.calib is None:
        raise UserError("precision 'auto' needs calibration data", "give samples with --calib")
    if any(isinstance(step.build(), InsertQdq) for step in target.pipeline(target_options)):
        if quant.calib is None and quant.ranges is None:
            raise UserError(
                f"precision '{precision}' needs calibration data",
                "give samples with --calib, or calibrated ranges with --ranges",
            )
    elif unread := quant.given(options.skip_passes):
        raise UserError(f"--{unread[0]} is given with precision '{precision}'", "ask for --precision int8 or auto")


def all_described(options: ExportOptions, target_options: TargetOptions) -> dict[str, Any]:
    """Return the options that differ from their defaults as JSON values, by flag, and all of the target's.

    Arrays are left out, which are in the golden file, and where to write texts, which changes nothing.
    """
    values = {flag: value for flag, value in described(options).items() if flag not in ("sample", "dump")}
    return {**values, **dataclasses.asdict(target_options)}
