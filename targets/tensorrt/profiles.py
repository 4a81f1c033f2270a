"""Optimization profiles: the least, usual and largest size of every dynamic input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edgeopt.errors import UserError
from edgeopt.ir.program import Program, TensorSpec

Shape = tuple[int, ...]

_UNBOUNDED = 2**31
"""Bounds of torch.export from here on are none that anyone stated."""


@dataclass(frozen=True)
class Profile:
    """Sizes of one input."""

    name: str
    least: Shape
    usual: Shape
    largest: Shape

    def flag(self, which: str) -> str:
        """Return ``x:1x3x32x32`` for ``least``, ``usual`` or ``largest``."""
        return f"{self.name}:{'x'.join(map(str, getattr(self, which)))}"


def profiles(program: Program, stated: str) -> tuple[Profile, ...]:
    """Return a profile for each dynamic input: as stated, or else by the program's bounds, largest as usual.

    Raises UserError where a size is not bounded, or what is stated does not fit the inputs.
    """
    dynamic = {spec.name: spec for spec in program.inputs if any(isinstance(d, str) for d in spec.shape)}
    given = {profile.name: profile for profile in map(_parse, filter(None, stated.split(",")))}
    for name, profile in given.items():
        _check(profile, next((spec for spec in program.inputs if spec.name == name), None))
    return tuple(given[name] if name in given else _from_bounds(program, spec) for name, spec in dynamic.items())


def _parse(text: str) -> Profile:
    name, *sizes = text.split(":")
    if len(sizes) != 3 or not all(re.fullmatch(r"\d+(x\d+)*", size) for size in sizes):
        raise UserError(f"'{text}' is not a profile", "write NAME:1x3x32x32:4x3x32x32:16x3x32x32")
    least, usual, largest = (tuple(map(int, size.split("x"))) for size in sizes)
    return Profile(name, least, usual, largest)


def _check(profile: Profile, spec: TensorSpec | None) -> None:
    if spec is None:
        raise UserError(f"the profile names '{profile.name}', which is not an input", "name inputs as the model does")
    sizes = (profile.least, profile.usual, profile.largest)
    ranks_fit = all(len(shape) == len(spec.shape) for shape in sizes)
    fixed_fit = ranks_fit and all(
        isinstance(want, str) or want == got for shape in sizes for want, got in zip(spec.shape, shape, strict=True)
    )
    ordered = ranks_fit and all(0 < a <= b <= c for a, b, c in zip(*sizes, strict=True))
    if not (fixed_fit and ordered):
        raise UserError(
            f"the profile of '{profile.name}' does not fit its shape {'x'.join(map(str, spec.shape))}",
            "give three shapes of its rank in rising order, fixed sizes as they are",
        )


def _from_bounds(program: Program, spec: TensorSpec) -> Profile:
    bounds = {str(symbol): found for symbol, found in program.range_constraints.items()}
    node = next(node for node in program.input_nodes if node.name == spec.name)
    sizes = [_size(dim, bounds, spec, axis) for axis, dim in enumerate(node.meta["val"].shape)]
    least, largest = (tuple(size[end] for size in sizes) for end in (0, 1))
    return Profile(spec.name, least, largest, largest)


def _size(dim: Any, bounds: dict[str, Any], spec: TensorSpec, axis: int) -> tuple[int, int]:
    if isinstance(dim, int):
        return dim, dim
    expression = dim.node.expr
    ends = []
    for end in ("lower", "upper"):
        value = expression.subs({s: _end(bounds[str(s)], end) for s in expression.free_symbols if str(s) in bounds})
        if not value.is_number or value >= _UNBOUNDED:
            shape = "x".join(map(str, spec.shape))
            raise UserError(
                f"dimension {axis} of input '{spec.name}' ({shape}) has no largest size",
                f"state the sizes with --profile {spec.name}:LEAST:USUAL:LARGEST, or export the model with "
                "torch.export.Dim('size', min=1, max=8) for it",
            )
        ends.append(int(value))
    return ends[0], ends[1]


def _end(found: Any, end: str) -> Any:
    value = getattr(found, end)
    # torch.export traces a dynamic dimension as if it were neither 0 nor 1 and states 2 where 1 was asked for.
    return 1 if end == "lower" and value <= 2 else value
