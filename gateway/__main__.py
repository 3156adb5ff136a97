"""`python -m gateway`: the gateway in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gateway
from gateway import app, config, identity, log, paths, token_file
from gateway.api.routing import Surroundings
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.engine.owner import Owner
from gateway.errors import GatewayError
from gateway.serve import serve
from gateway.supervisor import lock, port
from gateway.supervisor.logfile import LogFile
from gateway.supervisor.record import Record
from gateway.token_file import masked

#: seconds that the banner waits for the agent to say its version
INTRODUCTION = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gateway in the foreground; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Run the gateway in the foreground.")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--config", help="config file")
    parser.add_argument("--token", help="store this as the gateway's token, then start")
    arguments = parser.parse_args(argv)
    try:
        run(vars(arguments))
    except GatewayError as error:
        sys.stderr.write(f"❌ {error}\n" if sys.stderr.isatty() else f"{error}\n")
        return error.exit_code
    return 0


def run(options: Mapping[str, Any]) -> None:
    """Run the gateway in the foreground until it is told to stop.

    Args:
        options: `port`, `host`, `config` and `token` as given on the command line; None is not given.

    Raises:
        GatewayError: it cannot start; `exit_code` is the process's.
    """
    os.umask(0o077)
    if options.get("config"):
        os.environ["MOONGATE_CONFIG"] = options["config"]
    if options.get("token"):
        _store_token_and_begin_again(options["token"])
    settings = config.load(os.environ, {"gateway.port": options.get("port"), "gateway.host": options.get("host")})
    agents = app.check(settings, os.environ)
    paths.private_directory(settings.home)
    held = lock.acquire(paths.lock(settings.home, settings.path))
    try:
        with port.bind(settings.gateway.host, settings.gateway.port) as listener:
            owner = Owner(secrets.token_hex(8), identity.own())
            held.write(_record(settings, owner, listener.getsockname()[1]))
            _serve(settings, agents, listener, owner)
    finally:
        held.release()


def _serve(settings: Config, agents: Sequence[Agent], listener: socket.socket, owner: Owner) -> None:
    file = LogFile(paths.log_file(settings.home))
    token = app.token(settings)
    writer = log.configure(
        settings.log.level,
        [lambda line, _: file.write(line), lambda line, level: _to_console(line, level)],
        app.secrets(settings, agents),
    )
    bound = listener.getsockname()[1]

    async def greet(around: Surroundings) -> None:
        sys.stdout.write(await _banner(around, bound, token) + "\n")
        sys.stdout.flush()

    try:
        asyncio.run(serve(settings, agents, listener, owner, greet))
    finally:
        writer.close()
        file.close()


def _record(settings: Config, owner: Owner, bound: int) -> Record:
    return Record(
        pid=owner.process.pid,
        createdAt=time.time_ns() // 1_000_000,
        configPath=str(settings.path),
        startTime=owner.process.started,
        bootId=owner.process.boot,
        instance=owner.instance,
        host=settings.gateway.host,
        port=bound,
        version=gateway.__version__,
    )


def _store_token_and_begin_again(token: str) -> None:
    """Keep a token out of the process list: store it, and become the same program without it."""
    home = paths.private_directory(paths.home(os.environ))
    token_file.store(paths.token(home), token)
    kept: list[str] = []
    given = iter(sys.orig_argv[1:])
    for word in given:
        if word == "--token":
            next(given, None)
        elif not word.startswith("--token="):
            kept.append(word)
    os.execv(sys.executable, [sys.executable, *kept])  # noqa: S606 ourselves again


def _to_console(line: bytes, level: int) -> None:
    if level >= 20:
        sys.stderr.write(log.readable(line) + "\n")


async def _banner(around: Surroundings, bound: int, token: str | None) -> str:
    settings = around.config
    url = f"http://{_reachable(settings.gateway.host)}:{bound}"
    shown = config.shown(paths.token(settings.home))
    default = around.engine.agents.default
    try:
        async with asyncio.timeout(INTRODUCTION):
            health = await around.engine.agents.health(default)
        introduced = f"{default.backend} {health.version}".strip() + (f" ({health.detail})" if health.detail else "")
    except TimeoutError:
        introduced = f"{default.backend} (does not answer yet)"
    rows = [
        f"Moongate {gateway.__version__}",
        f"  URL      {url}",
        f"  Token    {masked(token)}   file: {shown}" if token else "  Token    none is asked for (auth.mode: none)",
        f"  Agent    {default.id}: {introduced}   change: {config.shown(settings.path)}",
        f"  Data     {config.shown(settings.database)}",
        "",
        "Try it:",
        f"  curl -s {url}/api/agent" + (f' -H "Authorization: Bearer $(cat {shown})"' if token else "") + " \\",
        """       -H "Content-Type: application/json" -d '{"message": "Hello"}'""",
        '  gateway agent "Hello"',
        "Ctrl-C stops.",
    ]
    return "\n".join(rows)


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host  # noqa: S104


if __name__ == "__main__":
    raise SystemExit(main())
