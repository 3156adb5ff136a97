"""`gateway agents`: which agents there are, whether they could answer, and making others over them."""

from __future__ import annotations

from typing import Any, TextIO

import click

from cli import output
from cli.arguments import add_budget_options, describe_budget, pop_budget
from cli.command import Group, current
from cli.remote.client import connect, part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List the agents, ask one whether it could answer now, and make others over those of the config file.

    \b
    Examples:
      gateway agents list
      gateway agents add reviewer --base main --prompt "You review code." --max-concurrent 3
      gateway agents edit reviewer --disable
      gateway agents remove reviewer

    \b
    With --json, an agent is
      {"id", "slug", "name", "base": id of the agent underneath or null, "backend", "model",
       "system_prompt", "status": "idle" | "working" | "disabled", "current_tasks", "queued",
       "assigned", "max_concurrent", "is_enabled", "is_default", "timeout": seconds,
       "budget": {"runs", "tokens", "cost"} or null,
       "created_at", "updated_at": RFC 3339, or null for one of the config file}
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
            agent["slug"] + (" (default)" if agent["is_default"] else ""),
            agent["backend"],
            agent["model"] or "-",
            agent["status"],
            f"{agent['current_tasks']} of {agent['max_concurrent']}",
            agent["queued"],
        )
        for agent in found["agents"]
    ]
    output.listing(("agent", "backend", "model", "status", "at work", "waiting"), rows)


@COMMAND.command("show")
@click.argument("id_", metavar="ID")
def show(id_: str) -> None:
    """Show an agent, and ask it whether it could answer now.

    \b
    Example:
      gateway agents show main

    \b
    --json prints {"agent": agent, "health": {"ok": bool, "version": str, "detail": str, "missing": str}}
    """
    found = connect().get(f"/api/agents/{part(id_)}")
    if current().json:
        output.emit(found)
        return
    agent, health = found["agent"], found["health"]
    said = " ".join(filter(None, [health["version"], f"({health['detail']})" if health["detail"] else ""]))
    rows = [
        ("Agent", agent["slug"] + (" (default)" if agent["is_default"] else "")),
        ("Backend", agent["backend"] or "-"),
        ("Model", agent["model"] or "the backend's own"),
        ("Status", f"{agent['status']}, {agent['current_tasks']} of {agent['max_concurrent']} at work"),
        ("Timeout", output.duration(agent["timeout"])),
        ("Budget", describe_budget(agent["budget"])),
        ("Health", ("ok " if health["ok"] else "cannot answer ") + said),
        *([("Missing", health["missing"])] if health.get("missing") else []),
    ]
    if agent["base"] is not None:
        rows[1:1] = [("Id", agent["id"]), ("Name", agent["name"]), ("Over", agent["base"])]
    output.fields(rows)


_LIMIT = click.IntRange(1, 1024)


@COMMAND.command("add")
@click.argument("slug")
@click.option("--name", help="What people call it; the slug when left out.")
@click.option("--base", help="The configured agent underneath; the default agent when left out.")
@click.option("--model", help="The model to ask for; its base's own when left out.")
@click.option("--prompt", help="Its system prompt; its base's own when left out.")
@click.option(
    "--prompt-file", type=click.File(encoding="utf-8"), help="Read the system prompt from a file; - is stdin."
)
@click.option("--max-concurrent", type=_LIMIT, default=1, show_default=True, help="Runs at the same time.")
@add_budget_options
@click.option("--disabled", is_flag=True, help="Make it, but let it take nothing yet.")
def add(prompt: str | None, prompt_file: TextIO | None, disabled: bool, **fields: Any) -> None:
    """Make an agent over one of the config file: another model, prompt or limit under a name of its own.

    \b
    Example:
      gateway agents add reviewer --base main --prompt "You review code." --max-concurrent 3

    \b
    --json prints {"status": "ok", "agent": agent}
    """
    budget = pop_budget(fields)
    body = fields | budget | {"system_prompt": _prompt(prompt, prompt_file), "is_enabled": not disabled}
    made = connect().post("/api/agents", body)
    agent = made["agent"]
    output.result(made, f'Made {agent["slug"]} over {agent["base"]}: gateway agent --agent {agent["slug"]} "Hello"')


@COMMAND.command("edit")
@click.argument("id_", metavar="ID")
@click.option("--slug", help="Another slug.")
@click.option("--name", help="Another name.")
@click.option("--base", help="Another configured agent underneath.")
@click.option("--model", help="Another model.")
@click.option("--prompt", help="Another system prompt.")
@click.option(
    "--prompt-file", type=click.File(encoding="utf-8"), help="Read the system prompt from a file; - is stdin."
)
@click.option("--max-concurrent", type=_LIMIT, help="Runs at the same time.")
@add_budget_options
@click.option("--enable/--disable", default=None, help="Whether it takes anything on; what waits for it is kept.")
def edit(id_: str, prompt: str | None, prompt_file: TextIO | None, enable: bool | None, **fields: Any) -> None:
    """Change an agent that was made with `add`; what is not named stays.

    \b
    Examples:
      gateway agents edit reviewer --max-concurrent 5
      gateway agents edit reviewer --disable

    \b
    --json prints {"status": "ok", "agent": agent}
    """
    budget = pop_budget(fields)
    body = fields | budget | {"system_prompt": _prompt(prompt, prompt_file), "is_enabled": enable}
    changed = {name: value for name, value in body.items() if value is not None}
    if not changed:
        raise click.UsageError("Name what is to change, such as --max-concurrent 5.")
    kept = connect().put(f"/api/agents/{part(id_)}", changed)
    output.result(kept, f"Changed {kept['agent']['slug']}.")


@COMMAND.command("remove")
@click.argument("id_", metavar="ID")
def remove(id_: str) -> None:
    """Remove an agent that was made with `add`: what it works on goes on, what waits for it fails.

    \b
    Example:
      gateway agents remove reviewer

    \b
    --json prints {"status": "ok", "failed": number of runs that waited for it}
    """
    gone = connect().delete(f"/api/agents/{part(id_)}")
    failed = f" Tasks that waited for it have failed: {gone['failed']}." if gone["failed"] else ""
    output.result(gone, f"Removed {id_}.{failed}")


def _prompt(given: str | None, file: TextIO | None) -> str | None:
    if given is not None and file is not None:
        raise click.UsageError("Give --prompt or --prompt-file, not both.")
    return file.read() if file is not None else given
