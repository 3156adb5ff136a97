"""The options that say which tasks a command is about."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from cli.arguments import Moment

TASK_STATUSES = ("held", "queued", "running", "succeeded", "failed", "cancelled")
TASK_SOURCES = ("message", "agent", "task", "assign", "background", "cron", "hook", "webhook", "openai", "mcp")
_FILTER_NAMES = ("status", "agent", "session", "label", "source", "parent", "text", "since", "until")
_STATUS_HELP = f"Only tasks that are: {', '.join(TASK_STATUSES)}."


class _Statuses(click.Choice[str]):
    """One status of a task, or several with commas between them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return ",".join(super(_Statuses, self).convert(word, param, ctx) for word in str(value).split(","))


def add_task_filter(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which tasks, as `which`."""
    options = (
        click.option(
            "--status",
            type=_Statuses(TASK_STATUSES),
            metavar="STATUS[,STATUS]",
            help=_STATUS_HELP,
        ),
        click.option("--agent", metavar="ID", help="Only tasks of this agent."),
        click.option("--session", metavar="KEY", help="Only tasks of this session."),
        click.option("--label", metavar="NAME[=VALUE]", help="Only tasks with this label."),
        click.option("--source", type=click.Choice(TASK_SOURCES), help="Only tasks that came from there."),
        click.option("--parent", metavar="ID", help="Only tasks that are part of this one."),
        click.option("--text", metavar="WORDS", help="Only tasks with these words in their prompt or answer."),
        click.option(
            "--since", type=Moment(), metavar="TIME", help="Only tasks created since then: 2h (ago), or a date or time."
        ),
        click.option("--until", type=Moment(), metavar="TIME", help="Only tasks created before then."),
    )

    @functools.wraps(command)
    def read_options(**given: Any) -> Any:
        which = {name: given.pop(name) for name in _FILTER_NAMES}
        which |= {name: which[name] and which[name].isoformat() for name in ("since", "until")}
        return command(which=which, **given)

    for option in reversed(options):
        read_options = option(read_options)
    return read_options
