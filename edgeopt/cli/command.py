"""What all commands have in common: an option is given once, unless it may be repeated."""

from __future__ import annotations

import click

from edgeopt.errors import UserError


class Command(click.Command):
    """A command that refuses repeated options, where click silently takes the last value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises UserError where an option that takes one value is given several, and where a path is empty.
        """
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        for one in self.params:
            if isinstance(one.type, click.Path) and values.get(one.name or "") == "":
                raise UserError(f"{one.get_error_hint(ctx)} is empty", "give a path")
        for one in (one for one in order if isinstance(one, click.Option)):
            if not (one.multiple or one.count or one.is_eager) and order.count(one) > 1:
                raise repeated(" or ".join(f"'{flag}'" for flag in (*one.opts, *one.secondary_opts)))
        return super().parse_args(ctx, args)


def repeated(flag: str) -> UserError:
    """Return what is raised where an option is given several values."""
    return UserError(f"option {flag} is given more than once", "give it once")
