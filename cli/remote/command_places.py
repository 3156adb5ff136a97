"""Which command may go to a gateway on another machine, and which one is about this machine only.

A new command needs a row. So nobody stops the gateway of this machine when they mean another one.
"""

from __future__ import annotations

from enum import StrEnum

import click


class Place(StrEnum):
    """Where a command does its work."""

    #: a client of the HTTP API: it goes to the gateway that `--url`, `--remote` or the default remote names
    ANY = "any"
    #: it is about the processes and files of this machine
    HERE = "here"
    #: it keeps or tells what is on this machine, and touches no process: a variable does not forbid it, an option does
    SELF = "self"


#: the places of all commands
COMMAND_PLACES = {
    "acp": Place.ANY,
    "agent": Place.ANY,
    "agents": Place.ANY,
    "alerts": Place.ANY,
    "audit": Place.ANY,
    "backup": Place.HERE,
    "channels": Place.ANY,
    "completion": Place.SELF,
    "config": Place.SELF,
    "cron": Place.ANY,
    "dashboard": Place.ANY,
    "deliveries": Place.ANY,
    "doctor": Place.ANY,
    "exec": Place.HERE,
    "export": Place.ANY,
    "files": Place.ANY,
    "import": Place.ANY,
    "install": Place.HERE,
    "logs": Place.ANY,
    "mcp": Place.ANY,
    "message": Place.ANY,
    "migrate": Place.HERE,
    "projects": Place.ANY,
    "remote": Place.SELF,
    "restart": Place.ANY,
    "restore": Place.HERE,
    "run": Place.HERE,
    "service-start": Place.HERE,
    "service-status": Place.HERE,
    "service-stop": Place.HERE,
    "sessions": Place.ANY,
    "setup": Place.HERE,
    "start": Place.HERE,
    "status": Place.ANY,
    "stop": Place.HERE,
    "tasks": Place.ANY,
    "tokens": Place.ANY,
    "uninstall": Place.HERE,
    "unreadable": Place.ANY,
    "update": Place.HERE,
    "usage": Place.ANY,
    "worker": Place.HERE,
}


def find_command_name(context: click.Context) -> str | None:
    """Return the name of the command that a context belongs to, not of its subcommand; None for that of the program."""
    name = None
    while context.parent is not None:
        name, context = context.info_name, context.parent
    return name


def find_place(context: click.Context) -> Place:
    """Return the place of the command that a context belongs to; that of the whole program counts as `ANY`."""
    name = find_command_name(context)
    return Place.ANY if name is None else COMMAND_PLACES.get(name, Place.HERE)


def refuse_other_machine(context: click.Context, chosen: str | None, name: str | None = None) -> None:
    """Refuse a command about this machine if the command line names a gateway elsewhere.

    Args:
        chosen: the option or variable that names it; None if none does.
        name: of the command, if the context is that of the whole program.

    Raises:
        UsageError: it does.
    """
    place = find_place(context) if name is None else COMMAND_PLACES.get(name, Place.HERE)
    if chosen is None or place is Place.ANY:
        return
    if place is Place.SELF and not chosen.startswith("--"):
        return
    command = context.command_path if name is None else f"{context.command_path} {name}"
    remedy = f"leave {chosen} out" if chosen.startswith("--") else f"unset it: env -u {chosen} {command}"
    if place is Place.SELF:
        raise click.UsageError(f"{command} asks no gateway; {remedy}.", context)
    raise click.UsageError(
        f"{command} is about this machine, and {chosen} names a gateway elsewhere;"
        f" run it there, for example with ssh, or {remedy}.",
        context,
    )
