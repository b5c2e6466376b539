"""What all commands share: `--quiet`, and help pages that name types as people do.

`PATH` and `N`, and not `<list[Path]>` or ranges of 19 digits.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

NAMES = {  # of typer's types; of a choice its values stay
    "bool": "",
    "dir": "DIR",
    "file": "FILE",
    "float": "NUMBER",
    "int": "N",
    "path": "PATH",
    "str": "TEXT",
}
QUIET = "--quiet"  # of the program, and so of each command
LARGEST = 1 << 31  # a bound above it is the computer's, not the user's


class PlainGroup(TyperGroup):
    """Commands with such help pages, each with the group's own `--quiet`."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            quiet = (param for param in self.params if QUIET in param.opts and param not in command.params)
            command.params.extend(quiet)
            for param in (*command.params, command.get_help_option(ctx)):
                _name_plainly(param, ctx)
        return command

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for param in params:
            _name_plainly(param, ctx)
        return params


def _name_plainly(param: Any, ctx: Any) -> None:
    """Have a parameter show its own metavar, else the plain name of its type, and bounds that tell."""
    if not hasattr(param, "display_type"):  # of another version of typer
        return
    own = param.metavar if param.param_type_name == "option" else None
    shown = own or plain(param.display_type(ctx))
    param.display_type_rich = lambda ctx: shown
    if (getattr(param, "max", None) or 0) >= LARGEST:
        param._get_number_range_help_str = lambda: f"x>={param.min}"


def plain(typed: str | None) -> str:
    """`<list[Path]>` as PATH, `<int range>` as N, `<local|ray>` as local|ray."""
    name = (typed or "").strip("<>").removeprefix("list[").removesuffix("]").removesuffix(" range")
    return ", ".join(NAMES.get(part.lower(), part) for part in name.split(","))
