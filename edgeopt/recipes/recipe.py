"""What a recipe is, and how its TOML file is read and checked.

    summary, source, cost, text   what ``edgeopt explain`` prints
    force                         swap also where it does not pay
    [[passes]]                    ``name``, and the pass's own settings
    [tune]                        ``budget`` ("5min", or steps), ``blocks`` and ``model`` (the two stages), and the
                                  settings of edgeopt.distill.loop.TuneOptions

Keys are written with dashes. Every one is checked against what reads it.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from edgeopt.distill.budget import parse_budget
from edgeopt.distill.loop import TuneOptions
from edgeopt.errors import UserError, nearest, quoted
from edgeopt.files import reason
from edgeopt.ir.pass_base import Kind, Pass
from edgeopt.plugins.registry import pass_class

_TEXTS = ("summary", "source", "cost", "text")
_FORM = 'write one pass or more, each as two lines: [[passes]] and name = "linear-attention"'
_STAGES = ("blocks", "model")
_LOOP = (
    *("rate", "model_part", "old_part", "rank", "blocks_part", "label_part"),
    *("batch", "check_every", "patience", "seed"),
)
"""The settings of TuneOptions that a recipe may give; its budget comes from ``budget``."""


@dataclass(frozen=True)
class RecipeStep:
    """A pass and its settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """The pass's promise."""
        return pass_class(self.name).kind

    def built(self) -> Pass:
        """Return the pass.

        Raises UserError where a setting is not legal.
        """
        return pass_class(self.name)(**self.settings)


@dataclass(frozen=True)
class Recipe:
    """``tune``: the settings of tuning; ``blocks`` and ``model`` say which stages run."""

    name: str
    summary: str = ""
    source: str = ""
    cost: str = ""
    text: str = ""
    force: bool = False
    passes: tuple[RecipeStep, ...] = ()
    tune: TuneOptions = field(default_factory=TuneOptions)
    blocks: bool = True
    model: bool = True

    @property
    def is_trained(self) -> bool:
        """Whether it has passes that are tuned on data."""
        return any(step.kind == "trained" for step in self.passes)

    def described(self) -> dict[str, Any]:
        """Return what it does as JSON values, as manifests keep it."""
        passes = [{"name": step.name, **_dashed(step.settings)} for step in self.passes]
        described: dict[str, Any] = {"name": self.name, "force": self.force, "passes": passes}
        if self.is_trained:
            loop = {name: getattr(self.tune, name) for name in ("steps", "seconds", *_LOOP)}
            described["tune"] = _dashed({**loop, "blocks": self.blocks, "model": self.model})
        return described


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with edgeopt."""
    return tuple(sorted(Path(file.name).stem for file in _folder().iterdir() if file.name.endswith(".toml")))


def load_recipe(given: str) -> Recipe:
    """Return the recipe of that name, or in that file.

    Raises UserError where there is none, or where the file holds what no recipe holds.
    """
    if given in recipe_names():
        return parse(given, (_folder() / f"{given}.toml").read_text("utf-8"))
    path = Path(given)
    if not path.is_file():
        fact = "does not exist" if path.suffix and not path.exists() else "is not a recipe"
        raise UserError(f"'{given}' {fact}", f"{nearest(given, recipe_names()).rstrip('?')}, or give a TOML file")
    try:
        return parse(given, path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"recipe '{given}' cannot be read: {reason(error)}", "give a TOML file in UTF-8") from error


def parse(name: str, text: str) -> Recipe:
    """Return the recipe that a TOML text describes.

    Raises UserError that names the key and its place.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"recipe '{name}' is not TOML: {error}", _FORM) from error
    where = f"recipe '{name}'"
    _check_keys(where, content, (*_TEXTS, "force", "passes", "tune"))
    for key in (*_TEXTS, "force"):
        _check_type(where, key, content.get(key), bool if key == "force" else str)
    passes = content.get("passes", [])
    if not isinstance(passes, list) or not passes or not all(isinstance(entry, dict) for entry in passes):
        raise UserError(f"{where} has no passes", _FORM)
    texts = {key: content[key].strip() for key in _TEXTS if key in content}
    steps = tuple(_step(where, entry) for entry in passes)
    tuning = _tune(where, content.get("tune", {}))
    return Recipe(name, **texts, force=content.get("force", False), passes=steps, **tuning)


def _step(where: str, entry: Mapping[str, Any]) -> RecipeStep:
    if not isinstance(name := entry.get("name"), str):
        raise UserError(f"{where} has a pass without a name", "see edgeopt passes for the names")
    place = f"pass {quoted(name)} of {where}"
    known = _settings(pass_class(name))
    settings = {key.replace("-", "_"): value for key, value in entry.items() if key != "name"}
    _check_keys(place, settings, known)
    for key, value in settings.items():
        _check_type(place, key, value, known[key])
    step = RecipeStep(name, settings)
    if step.kind == "calibrated":
        raise UserError(f"{place} is calibrated", "it runs by itself with --precision int8; leave it out")
    step.built()  # what is not legal is told before the work
    return step


def _settings(cls: type[Pass]) -> dict[str, type]:
    """Return a pass's settings: its fields whose default is a plain value."""
    plain = (bool, int, float, str)
    return {one.name: type(one.default) for one in dataclasses.fields(cls) if isinstance(one.default, plain)}


def _tune(where: str, content: Any) -> dict[str, Any]:
    """Return the fields of a recipe that its table [tune] gives."""
    place = f"[tune] of {where}"
    if not isinstance(content, dict):
        raise UserError(f"{place} is not a table", "write [tune] on a line of its own")
    given = {key.replace("-", "_"): value for key, value in content.items()}
    kinds = {f.name: type(f.default) for f in dataclasses.fields(TuneOptions)}
    _check_keys(place, given, ("budget", *_STAGES, *_LOOP))
    for key in given:
        if key != "budget":
            _check_type(place, key, given[key], bool if key in _STAGES else kinds[key])
    options = TuneOptions(**{key: given[key] for key in given if key in _LOOP})
    if "budget" in given:
        options = parse_budget(str(given["budget"]), options)
    return {"tune": options, **{key: given[key] for key in _STAGES if key in given}}


def _check_keys(place: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = [name.replace("_", "-") for name in known]
    for key in (key.replace("_", "-") for key in given):
        if key not in names:
            remedy = nearest(key, names) if names else "it has no settings: remove the key"
            raise UserError(f"{place} has the unknown key {quoted(key)}", remedy)


def _check_type(place: str, key: str, value: Any, kind: type) -> None:
    fits = value is None or type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        raise UserError(f"{quoted(key.replace('_', '-'))} of {place} is {quoted(value)}", f"give a {kind.__name__}")


def _dashed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in settings.items()}


def _folder() -> Any:
    return resources.files("edgeopt.recipes")
