"""Writes docs/cli.md from the live help texts: ``python docs/make_cli.py``; a test compares the two."""

from __future__ import annotations

from pathlib import Path

from edgeopt.cli import COMMANDS, cli

PAGE = Path(__file__).with_name("cli.md")


def page() -> str:
    """Return the page: the help of every command."""
    parts = ["# The command line", "", "Written by `python docs/make_cli.py` from the live help texts.", ""]
    for name in ("", *COMMANDS):
        parts += [f"## edgeopt {name}".rstrip(), "", "```text", _help(name), "```", ""]
    return "\n".join(parts)


def _help(name: str) -> str:
    # Contexts made as the program makes them: options such as -h come from the command's settings.
    context = cli.make_context("edgeopt", [], resilient_parsing=True, terminal_width=100)
    if not name:
        return cli.get_help(context).rstrip()
    command = cli.get_command(context, name)
    assert command is not None
    own = command.make_context(name, [], parent=context, resilient_parsing=True, terminal_width=100)
    return command.get_help(own).rstrip()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
