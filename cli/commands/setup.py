"""`gateway setup`: leads through the first set-up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cli import output
from cli.command import Command, Interrupted, complete_commands, current_invocation
from cli.remote import probe
from gateway.errors import GatewayError, InvalidRequest

if TYPE_CHECKING:
    from cli.setup.guide import Guide


@click.command(cls=Command)
@click.option("--yes", is_flag=True, help="Ask nothing: take the options below, and the defaults for the rest.")
@click.option("--agent", metavar="NAME", help="Agent on this machine to use, as gateway agents detect names it.")
@click.option("--base-url", metavar="URL", help="OpenAI-compatible server to use; its key is OPENAI_API_KEY.")
@click.option("--model", metavar="NAME", help="Model of the agent or server.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--service/--no-service", default=None, help="Whether it starts at login.")
@click.option("--no-try", is_flag=True, help="Do not ask the agent a question.")
def COMMAND(  # noqa: N802 the seam's name
    yes: bool,
    agent: str | None,
    base_url: str | None,
    model: str | None,
    port: int | None,
    service: bool | None,
    no_try: bool,
) -> int:
    """Set the gateway up, step by step: agent, port, start at login, Telegram, dashboard.

    Each step can be skipped. What is set up already is shown and kept, so the command can be run again.
    Ctrl-C ends it, and what is done stays. The answers are written to the config file; keys and tokens
    to .env, which only you can read.

    \b
    Examples:
      gateway setup
      gateway setup --yes --agent opencode --no-service
      OPENAI_API_KEY=SECRET gateway setup --yes --base-url https://api.openai.com/v1 --model gpt-4o

    \b
    --json prints (and needs --yes)
      {"status": "ok" | "failed", "config": path, "agent": id or null, "agent_answer": str or null,
       "agent_error": str or null, "port", "service": str or null, "channel": "telegram" or null,
       "running": bool, "url": str or null, "failures": [what went wrong]}
    """
    from cli.setup import guide as guides  # late: imports all of the gateway
    from cli.setup.prompts import DefaultAnswers, TerminalPrompts

    if not yes and (current_invocation().json or not (sys.stdin.isatty() and sys.stderr.isatty())):
        raise InvalidRequest(
            "the set-up asks questions, and there is no terminal.",
            remedy="Run it in a terminal, or take the defaults: gateway setup --yes",
        )
    options = guides.Options(agent=agent, base_url=base_url, model=model, port=port, service=service, tries=not no_try)
    prompts = DefaultAnswers() if yes else TerminalPrompts()
    guide = guides.Guide(current_invocation().merged_environment, prompts, options)
    try:
        _walk(guide)
    except (click.Abort, KeyboardInterrupt):
        raise Interrupted("the set-up was ended; what is done stays.", remedy="Go on: gateway setup") from None
    return _print_end(guide)


def _walk(guide: Guide) -> None:
    from cli.setup import agent_step, dashboard_step, port_step, service_step, telegram_step

    guide.load_settings()  # a config that cannot be used is said at once
    if guide.prompts.asks:
        output.print_error("Enter takes the answer in brackets. Ctrl-C ends; what is done stays.")
    for step in (
        agent_step.choose_agent,
        port_step.choose_port,
        service_step.start_gateway,
        telegram_step.connect_telegram,
        dashboard_step.open_dashboard,
    ):
        step(guide)


def _print_end(guide: Guide) -> int:
    found = probe.probe_gateway(guide.instance)
    url = None if found.record is None else probe.local_url(guide.instance, found.record)
    blank = {"agent": None, "agent_answer": None, "agent_error": None, "port": None, "service": None, "channel": None}
    told = {
        "status": "failed" if guide.failures else "ok",
        "config": str(guide.instance.config),
        **blank,
        **guide.told,
        "running": found.record is not None,
        "url": url,
        "failures": guide.failures,
    }
    output.print_error("")
    state = f"The gateway runs: {url}" if url else "The gateway does not run."
    rows = [
        output.add_mark("✅" if url else "•", state),
        *probe.describe_agent(found.agent),
        "Next:",
        '  gateway agent "Hello"      ask the agent' if url else "  gateway start              start it",
        "  gateway status             see how it is",
        "  gateway dashboard          open the dashboard",
    ]
    output.print_result(told, complete_commands("\n".join(rows)))
    return GatewayError.exit_code if guide.failures else 0
