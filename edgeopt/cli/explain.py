"""``edgeopt explain``."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

import click

from edgeopt.cli.show import json_option, print_json


@click.command("explain")
@click.argument("name")
@json_option
def command(name: str, as_json: bool) -> int:
    """Print what the pass or target NAME does: its theorem, its rules, its options."""
    from edgeopt.registry import pass_class, pass_names

    facts = _explain_pass(pass_class(name)) if name in pass_names() else _explain_target(name)
    if as_json:
        print_json(facts)
        return 0
    click.echo(f"{facts['name']} ({facts['kind']})\n\n{facts['text']}")
    for title in ("rules", "options"):
        for entry in facts.get(title, ()):
            click.echo(f"\n{entry['name']}\n{_indent(entry['text'])}")
    return 0


def _explain_pass(cls: type) -> dict[str, Any]:
    rules = [{"name": rule.name, "text": inspect.getdoc(rule) or ""} for rule in getattr(cls, "rules", ())]
    return {"name": cls.name, "kind": cls.kind, "text": _module_text(cls), "rules": rules}  # type: ignore[attr-defined]


def _explain_target(name: str) -> dict[str, Any]:
    from edgeopt.errors import UserError
    from edgeopt.registry import nearest, pass_names, resolve, target_names

    try:
        target = resolve(name)
    except UserError as error:
        raise UserError(
            f"'{name}' is no pass and no target", nearest(name, [*pass_names(), *target_names()])
        ) from error
    options = [
        {"name": f"--{f.name.replace('_', '-')}", "text": f"{f.type}, default {f.default!r}"}
        for f in dataclasses.fields(target.Options)
    ]
    parts = [_module_text(type(target)), inspect.getdoc(target.Options) or ""]
    text = "\n\n".join([*parts, f"precisions: {', '.join(target.precisions)}"])
    return {"name": target.name, "kind": f"target, device {target.device.name}", "text": text, "options": options}


def _module_text(cls: type) -> str:
    return inspect.cleandoc(sys.modules[cls.__module__].__doc__ or cls.__doc__ or "")


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.splitlines())
