"""`gateway agents`: lists, finds and checks the agents, and manages agents made over others."""

from __future__ import annotations

from typing import Any, TextIO

import click

from cli import output
from cli.arguments import add_budget_options, describe_budget, pop_budget
from cli.command import Group, complete_commands, current_invocation, require_config
from cli.remote.client import connect_to_gateway, quote_part
from gateway.errors import AgentNotFound, ConfigError, Conflict

_NOTHING_FOUND_REMEDY = (
    "Put opencode, claude-agent-acp, codex-acp or gemini on PATH, set OPENAI_BASE_URL or OPENAI_API_KEY,"
    " or configure an agent in agents.list."
)

#: models or modes of an agent that are shown, at most
MAX_SHOWN_CHOICES = 40


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List agents, look for one on this machine, check them, and add agents based on those in the config file.

    \b
    Examples:
      gateway agents list
      gateway agents detect
      gateway agents add reviewer --base main --prompt "You review code." --max-concurrent 3
      gateway agents edit reviewer --disable
      gateway agents remove reviewer

    \b
    With --json, an agent is
      {"id", "slug", "name", "base": id of the agent it is based on, or null, "backend", "model",
       "system_prompt", "status": "idle" | "working" | "disabled", "current_tasks", "queued",
       "assigned", "max_concurrent", "is_enabled", "is_default", "timeout": seconds,
       "budget": {"runs", "tokens", "cost"} or null,
       "tells_tokens", "tells_cost": bool, or null where only its tasks show it,
       "created_at", "updated_at": RFC 3339, or null for an agent in the config file}
    """


@COMMAND.command("list")
def list_agents() -> None:
    """List the agents and what they do now.

    \b
    Example:
      gateway agents list

    \b
    --json prints {"agents": [agent]}
    """
    found = connect_to_gateway().get("/api/agents")
    if current_invocation().json:
        output.print_json(found)
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
    output.print_list(("agent", "backend", "model", "status", "at work", "waiting"), rows)


@COMMAND.command("show")
@click.argument("id_", metavar="ID")
def show_agent(id_: str) -> None:
    """Show an agent with the models and modes that it offers, and check whether it can answer now.

    What it offers is known from its last session, and not before its first one.

    \b
    Example:
      gateway agents show main

    \b
    --json prints
      {"agent": agent, "health": {"ok": bool, "version": str, "detail": str, "missing": str},
       "models" and "modes": [{"id", "name"}], or null if not known}
    """
    found = connect_to_gateway().get(f"/api/agents/{quote_part(id_)}")
    if current_invocation().json:
        output.print_json(found)
        return
    agent, health = found["agent"], found["health"]
    said = " ".join(filter(None, [health["version"], f"({health['detail']})" if health["detail"] else ""]))
    rows = [
        ("Agent", agent["slug"] + (" (default)" if agent["is_default"] else "")),
        ("Backend", agent["backend"] or "-"),
        ("Model", agent["model"] or "the backend's own"),
        ("Status", f"{agent['status']}, {agent['current_tasks']} of {agent['max_concurrent']} at work"),
        ("Timeout", output.format_duration(agent["timeout"])),
        ("Budget", describe_budget(agent["budget"])),
        *([("Usage", _describe_unknown_usage(agent))] if _describe_unknown_usage(agent) else []),
        ("Health", ("ok " if health["ok"] else "cannot answer ") + said),
        *([("Missing", health["missing"])] if health.get("missing") else []),
        *_describe_choices("Models", found.get("models")),
        *_describe_choices("Modes", found.get("modes")),
    ]
    if agent["base"] is not None:
        rows[1:1] = [("Id", agent["id"]), ("Name", agent["name"]), ("Over", agent["base"])]
    output.print_fields(rows)


def _describe_unknown_usage(agent: dict[str, Any]) -> str:
    """Return what an agent never tells about the usage of its tasks; empty if it may tell all."""
    unknown = [what for what in ("tokens", "cost") if agent.get(f"tells_{what}") is False]
    return f"it does not report {' or '.join(unknown)}" if unknown else ""


def _describe_choices(title: str, choices: list[dict[str, str]] | None) -> list[tuple[str, str]]:
    """Return a field with what an agent offers; none if that is not known."""
    if choices is None:
        return []
    names = [choice["id"] for choice in choices[:MAX_SHOWN_CHOICES]]
    more = f" and {len(choices) - len(names)} more: --json" if len(choices) > len(names) else ""
    return [(title, (", ".join(names) or "none") + more)]


_CONCURRENT_RUNS = click.IntRange(1, 1024)


@COMMAND.command("detect")
def detect_agent() -> None:
    """Look for an agent on this machine, and use it from the next start or restart on.

    For a gateway without agents in its config file. The first start looks by itself and remembers what it
    found; this command looks again, with PATH and the OPENAI_ variables of this shell. If it finds
    nothing, it changes nothing.

    \b
    Example:
      gateway agents detect

    \b
    --json prints
      {"agent": what was found, as an entry of agents.list, "before": what was remembered, or null,
       "changed": bool}
    """
    from gateway import config  # late: they import all of the gateway
    from gateway.agent_setup import detection, entries, memory

    require_config()
    environ = current_invocation().merged_environment
    settings = config.load(environ)
    if settings.agents.entries:
        raise Conflict(
            "the config file names the agents, so none needs to be found.", remedy=f"Edit agents.list: {settings.path}"
        )
    found = detection.look_around(settings, environ)
    if found is None:
        raise AgentNotFound("no agent was found on this machine.", remedy=_NOTHING_FOUND_REMEDY)
    try:
        before = memory.read_remembered_agent(settings.home)
    except ConfigError:  # it is replaced
        before = None
    entry = entries.format_entry(found)
    memory.remember_agent(settings.home, entry)
    what = " ".join(f"{name}={value}" for name, value in entry.items() if name != "id")
    output.print_result(
        {"agent": entry, "before": before, "changed": entry != before},
        f"Found: {what}\n"
        + ("It was the agent already." if entry == before else "A gateway that runs takes it with: gateway restart"),
    )


@COMMAND.command("add")
@click.argument("slug")
@click.option("--name", help="Display name.  [default: the slug]")
@click.option("--base", help="Configured agent that it is based on.  [default: the default agent]")
@click.option("--model", help="Model to use.  [default: as its base]")
@click.option("--prompt", help="System prompt.  [default: as its base]")
@click.option(
    "--prompt-file", type=click.File(encoding="utf-8"), help="Read the system prompt from a file; - is standard input."
)
@click.option(
    "--max-concurrent", type=_CONCURRENT_RUNS, default=1, show_default=True, help="Most runs at the same time."
)
@add_budget_options
@click.option("--disabled", is_flag=True, help="Create it disabled: it takes no tasks until it is enabled.")
def add_agent(prompt: str | None, prompt_file: TextIO | None, disabled: bool, **fields: Any) -> None:
    """Add an agent based on one in the config file, with its own name, model, prompt or limits.

    \b
    Example:
      gateway agents add reviewer --base main --prompt "You review code." --max-concurrent 3

    \b
    --json prints {"status": "ok", "agent": agent}
    """
    budget = pop_budget(fields)
    body = fields | budget | {"system_prompt": _read_prompt(prompt, prompt_file), "is_enabled": not disabled}
    made = connect_to_gateway().post("/api/agents", body)
    agent = made["agent"]
    try_it = complete_commands(f'gateway agent --agent {agent["slug"]} "Hello"')
    output.print_result(made, f"Made {agent['slug']}, based on {agent['base']}. Try it: {try_it}")


@COMMAND.command("edit")
@click.argument("id_", metavar="ID")
@click.option("--slug", help="New slug.")
@click.option("--name", help="New display name.")
@click.option("--base", help="New configured agent that it is based on.")
@click.option("--model", help="New model.")
@click.option("--prompt", help="New system prompt.")
@click.option(
    "--prompt-file", type=click.File(encoding="utf-8"), help="Read the system prompt from a file; - is standard input."
)
@click.option("--max-concurrent", type=_CONCURRENT_RUNS, help="Most runs at the same time.")
@add_budget_options
@click.option("--enable/--disable", default=None, help="Whether it takes tasks. Waiting tasks are kept.")
def edit_agent(id_: str, prompt: str | None, prompt_file: TextIO | None, enable: bool | None, **fields: Any) -> None:
    """Change an agent that was made with `add`. Options that you leave out change nothing.

    \b
    Examples:
      gateway agents edit reviewer --max-concurrent 5
      gateway agents edit reviewer --disable

    \b
    --json prints {"status": "ok", "agent": agent}
    """
    budget = pop_budget(fields)
    body = fields | budget | {"system_prompt": _read_prompt(prompt, prompt_file), "is_enabled": enable}
    changed = {name: value for name, value in body.items() if value is not None}
    if not changed:
        raise click.UsageError("Nothing to change: give an option, such as --max-concurrent 5.")
    kept = connect_to_gateway().put(f"/api/agents/{quote_part(id_)}", changed)
    output.print_result(kept, f"Changed {kept['agent']['slug']}.")


@COMMAND.command("remove")
@click.argument("id_", metavar="ID")
def remove_agent(id_: str) -> None:
    """Remove an agent that was made with `add`. Its running tasks go on; its waiting tasks fail.

    \b
    Example:
      gateway agents remove reviewer

    \b
    --json prints {"status": "ok", "failed": number of waiting tasks}
    """
    gone = connect_to_gateway().delete(f"/api/agents/{quote_part(id_)}")
    failed = f" Waiting tasks that have failed: {gone['failed']}." if gone["failed"] else ""
    output.print_result(gone, f"Removed {id_}.{failed}")


def _read_prompt(given: str | None, file: TextIO | None) -> str | None:
    if given is not None and file is not None:
        raise click.UsageError("Give --prompt or --prompt-file, not both.")
    return file.read() if file is not None else given
