"""`gateway agents`: lists, finds and checks the agents, and manages agents made over others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from cli import output
from cli.arguments import add_budget_options, describe_budget, pop_budget
from cli.command import Group, complete_commands, current_invocation, require_config
from cli.remote.client import connect_to_gateway, quote_part
from gateway.errors import AgentNotFound, ConfigError, Conflict
from gateway.validation import suggest_name

if TYPE_CHECKING:
    from gateway.agent_setup.survey import Sighting

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
       "accepts": kinds of files that it takes itself, or null where only its tasks show it,
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
        *([("Files", ", ".join(agent["accepts"]))] if agent.get("accepts") else []),
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
@click.argument("name", required=False)
@click.option("--list", "only_list", is_flag=True, help="Only list what is installed; choose nothing.")
def detect_agent(name: str | None, only_list: bool) -> None:
    """List the agents on this machine, and choose the one to use from the next start or restart on.

    Each known agent is shown with its version, whether a credential was found, and what keeps it from
    working. NAME chooses one of them. Without a name, a terminal asks; otherwise the best one is taken.

    The choice is for a gateway without agents in its config file. The first start chooses by itself and
    remembers it; this command looks again, with PATH and the OPENAI_ variables of this shell. If it finds
    nothing, it changes nothing.

    \b
    Examples:
      gateway agents detect
      gateway agents detect claude
      gateway agents detect --list

    \b
    --json prints
      {"agent": the choice, as an entry of agents.list, "before": what was remembered, or null,
       "changed": bool, "candidates": [{"name", "place": path or URL, or null if it is not here, "version",
       "signed_in": bool, or null if that is not known, "usable": bool, "problem", "sign_in", "in_force": bool,
       "entry": as in agents.list, or null}]}
    With --list, it has only "candidates".
    """
    import asyncio

    from gateway import config  # late: they import all of the gateway
    from gateway.agent_setup import entries, memory, survey

    require_config()
    environ = current_invocation().merged_environment
    settings = config.load(environ)
    if settings.agents.entries and not only_list:
        raise Conflict(
            "the config file names the agents, so none needs to be found.", remedy=f"Edit agents.list: {settings.path}"
        )
    try:
        before = memory.read_remembered_agent(settings.home)
    except ConfigError:  # it is replaced
        before = None
    seen = asyncio.run(survey.survey_machine(settings, environ))
    in_force = [survey.find_sighting(seen, entry) for entry in settings.agents.entries or filter(None, [before])]
    as_json = current_invocation().json
    candidates = [_render_sighting(each, each in in_force) for each in seen]
    if only_list:
        _print_sightings(candidates, as_json=as_json)
        return
    chosen = best = survey.choose_best(seen)
    if name is not None:
        chosen = _find_named(seen, name)
    elif best is not None and sys.stdin.isatty() and sys.stdout.isatty() and not as_json:
        _print_sightings(candidates, as_json=False)
        chosen = _ask_for_choice(seen, next(filter(None, in_force), best))
    if chosen is None or chosen.candidate.agent is None:
        raise AgentNotFound("no agent was found on this machine.", remedy=_NOTHING_FOUND_REMEDY)
    entry = entries.format_entry(chosen.candidate.agent)
    memory.remember_agent(settings.home, entry)
    what = " ".join(f"{key}={value}" for key, value in entry.items() if key != "id")
    output.print_result(
        {"agent": entry, "before": before, "changed": entry != before, "candidates": candidates},
        f"Found: {what}\n"
        + ("It was the agent already." if entry == before else "A gateway that runs takes it with: gateway restart"),
    )
    if chosen.problem:
        output.print_note(f"It may not work: {chosen.problem}")


def _describe_problem(seen: Sighting) -> str:
    """Return what keeps an agent from working; empty for nothing."""
    if seen.companion:
        return f"{seen.companion} is here, but Moongate needs another program for it. {seen.problem}"
    return seen.problem


def _render_sighting(seen: Sighting, in_force: bool) -> dict[str, Any]:
    return {
        "name": seen.candidate.name,
        "place": seen.place or None,
        "version": seen.version,
        "signed_in": seen.signed_in,
        "usable": seen.is_usable,
        "problem": _describe_problem(seen),
        "sign_in": seen.candidate.sign_in if seen.signed_in is False else "",
        "in_force": in_force,
        "entry": seen.entry,
    }


def _print_sightings(candidates: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"candidates": candidates})
        return
    signed_in = {True: "yes", False: "no", None: "unknown"}
    rows = [
        (
            one["name"] + (" (in force)" if one["in_force"] else ""),
            _shorten_place(one["place"]) if one["place"] else "not here",
            one["version"] or "-",
            signed_in[one["signed_in"]] if one["place"] else "-",
            one["problem"] or one["sign_in"] or "works",
        )
        for one in candidates
    ]
    output.print_list(("agent", "place", "version", "signed in", "state"), rows)


def _shorten_place(place: str) -> str:
    """Return a path with `~` for the home directory; an address stays as it is."""
    return place if "://" in place else output.shorten_home(Path(place))


def _ask_for_choice(seen: list[Sighting], default: Sighting) -> Sighting:
    """Return the agent that the user names; Enter takes the default."""
    while True:
        output.ask_question(f"Which one? (Enter takes {default.candidate.name}) ")
        answer = sys.stdin.readline()
        if not answer:
            raise click.Abort
        if not answer.strip():
            return default
        try:
            return _find_named(seen, answer.strip())
        except (AgentNotFound, Conflict) as error:
            output.print_error(str(error))


def _find_named(seen: list[Sighting], name: str) -> Sighting:
    """Return the agent with that name.

    Raises:
        AgentNotFound: it is not known, or not here.
        Conflict: it cannot work.
    """
    found = next((each for each in seen if each.candidate.name == name), None)
    if found is None:
        known = [each.candidate.name for each in seen]
        raise AgentNotFound(f"there is no known agent {name!r}{suggest_name(name, known)}")
    if found.companion:
        raise AgentNotFound(_describe_problem(found))
    if not found.place:
        raise AgentNotFound(f"{name} is not on this machine.", remedy=found.problem or None)
    if found.problem:
        raise Conflict(f"{name} cannot work: {found.problem}")
    return found


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
