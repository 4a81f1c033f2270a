"""``edgeopt explain``."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from edgeopt.cli.command import Command
from edgeopt.cli.show import json_option, print_json

if TYPE_CHECKING:
    from edgeopt.distill.loop import TuneOptions
    from edgeopt.ir.pass_base import Pass


@click.command("explain", cls=Command)
@click.argument("name")
@json_option
def command(name: str, as_json: bool) -> int:
    """Print what the pass, recipe or target NAME does: its theorem, its rules, its cost, its options."""
    from edgeopt.plugins.registry import pass_class, pass_names
    from edgeopt.recipes.recipe import recipe_names

    if name in pass_names():
        facts = _explain_pass(pass_class(name))
    elif name in recipe_names() or name.endswith(".toml"):
        facts = _explain_recipe(name)
    else:
        facts = _explain_target(name)
    if as_json:
        print_json(facts)
        return 0
    click.echo(f"{facts['name']} ({facts['kind']})\n\n{facts['text']}")
    for title in ("facts", "passes", "rules", "options"):
        for entry in facts.get(title, ()):
            click.echo(f"\n{entry['name']}\n{_indent(entry['text'])}")
    return 0


def _explain_pass(cls: type[Pass]) -> dict[str, Any]:
    rules = [{"name": rule.name, "text": inspect.getdoc(rule) or ""} for rule in getattr(cls, "rules", ())]
    return {"name": cls.name, "kind": cls.kind, "text": _module_text(cls), "rules": rules}


def _explain_recipe(name: str) -> dict[str, Any]:
    from edgeopt.recipes.recipe import load_recipe

    recipe = load_recipe(name)
    described = recipe.described()
    kind = "recipe, trained" if recipe.is_trained else "recipe, exact"
    facts = [{"name": "cost", "text": recipe.cost}, {"name": "source", "text": recipe.source}]
    if "tune" in described:
        facts.append({"name": "tuning", "text": f"{_budget(recipe.tune)}, {_settings(described['tune'])}"})
    passes = [
        {"name": entry["name"], "text": _settings({k: v for k, v in entry.items() if k != "name"})}
        for entry in described["passes"]
    ]
    text = "\n\n".join(part for part in (recipe.summary, recipe.text) if part)
    return {"name": recipe.name, "kind": kind, "text": text, "facts": [f for f in facts if f["text"]], "passes": passes}


def _budget(tune: TuneOptions) -> str:
    from edgeopt.distill.budget import UNBOUNDED_STEPS

    if tune.steps < UNBOUNDED_STEPS:
        return f"{tune.steps} steps a stage"
    return f"{tune.seconds / 60:g} min" if tune.seconds >= 60 else f"{tune.seconds:g} s"


def _settings(values: Mapping[str, Any]) -> str:
    bounds = ("steps", "seconds")
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items() if key not in bounds) or "as it is"


def _explain_target(name: str) -> dict[str, Any]:
    from edgeopt.errors import UserError, nearest
    from edgeopt.options import declared
    from edgeopt.plugins.registry import pass_names, resolve, target_names
    from edgeopt.recipes.recipe import recipe_names

    try:
        target = resolve(name)
    except UserError as error:
        raise UserError(
            f"'{name}' is not a pass, a recipe or a target",
            nearest(name, [*pass_names(), *recipe_names(), *target_names()]),
        ) from error
    options = [
        {"name": one.flag, "text": f"{one.help} ({one.plain_kind.__name__}, default {one.default!r})".strip()}
        for one in declared(target.Options).values()
    ]
    parts = [_module_text(type(target))]
    text = "\n\n".join([*parts, f"precisions: {', '.join(target.precisions)}"])
    return {"name": target.name, "kind": f"target, device {target.device.name}", "text": text, "options": options}


def _module_text(cls: type) -> str:
    return inspect.cleandoc(sys.modules[cls.__module__].__doc__ or cls.__doc__ or "")


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.splitlines())
