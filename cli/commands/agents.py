"""`gateway agents`: which agents there are, and whether they could answer."""

from __future__ import annotations

import click

from cli import output
from cli.client import connect, part
from cli.command import Group, current


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List the agents, and ask one whether it could answer now.

    \b
    Examples:
      gateway agents list
      gateway agents show main

    \b
    With --json, an agent is
      {"id", "backend", "model", "status": "idle" | "working" | "disabled", "current_tasks",
       "max_concurrent", "is_enabled", "is_default", "timeout": seconds}
    """


@COMMAND.command("list")
def list_agents() -> None:
    """List the agents and what they are doing.

    \b
    Example:
      gateway agents list

    \b
    --json prints {"agents": [agent]}
    """
    found = connect().get("/api/agents")
    if current().json:
        output.emit(found)
        return
    rows = [
        (
            agent["id"] + (" (default)" if agent["is_default"] else ""),
            agent["backend"],
            agent["model"] or "-",
            agent["status"],
            f"{agent['current_tasks']} of {agent['max_concurrent']}",
        )
        for agent in found["agents"]
    ]
    output.listing(("agent", "backend", "model", "status", "at work"), rows)


@COMMAND.command()
@click.argument("id_", metavar="ID")
def show(id_: str) -> None:
    """Show an agent, and ask it whether it could answer now.

    \b
    Example:
      gateway agents show main

    \b
    --json prints {"agent": agent, "health": {"ok": bool, "version": str, "detail": str}}
    """
    found = connect().get(f"/api/agents/{part(id_)}")
    if current().json:
        output.emit(found)
        return
    agent, health = found["agent"], found["health"]
    said = " ".join(filter(None, [health["version"], f"({health['detail']})" if health["detail"] else ""]))
    output.fields(
        [
            ("Agent", agent["id"] + (" (default)" if agent["is_default"] else "")),
            ("Backend", agent["backend"]),
            ("Model", agent["model"] or "the backend's own"),
            ("Status", f"{agent['status']}, {agent['current_tasks']} of {agent['max_concurrent']} at work"),
            ("Timeout", output.duration(agent["timeout"])),
            ("Health", ("ok " if health["ok"] else "cannot answer ") + said),
        ]
    )
