"""What status, doctor, logs and restart show of a gateway elsewhere: what can be known from afar."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Generator
from typing import Any

import gateway
from cli import output
from cli.backup import backup_report
from cli.remote import fleet_report, probe, sse
from cli.remote.client import RETURN_TIMEOUT_SECONDS, GatewayClient
from cli.remote.link import Link, open_link
from cli.remote.local_link import RECONNECT_POLL_SECONDS
from cli.remote.target import Target
from gateway.errors import Forbidden, GatewayError, NotFound, Unavailable

#: most lines of a log that a gateway sends at once
MAX_REMOTE_LINES = 10_000
#: seconds between two looks for the next serving process
GENERATION_POLL_SECONDS = 0.2


def build_status(target: Target, *, with_fleet: bool) -> dict[str, Any]:
    """Return the status of a gateway elsewhere, with the keys of that of this machine's.

    Raises:
        GatewayError: it cannot be reached, or refuses the token.
    """
    client = GatewayClient(open_link())
    me, health = client.get("/api/me"), client.get("/health")
    work = _ask_if_allowed(lambda: client.get("/api/work"))
    told = {
        "running": True,
        "state": "running",
        "url": target.url,
        "external_url": target.url,
        "host": target.host,
        "port": target.port,
        "version": health["version"],
        "instance": health.get("instance"),
        "generation": health.get("generation"),
        "generation_uptime": health["uptime"],
        "health": health["status"],
        "checks": health.get("checks"),
        "agent": health.get("agent"),
        "work": work,
        "backup": health.get("backup"),
        "installed_version": gateway.__version__,
        "version_drift": health["version"] != gateway.__version__,
        "remote": {
            "name": target.name,
            "token": me["name"],
            "scope": me["scope"],
            "expires_at": me["expires_at"],
            "in_fleet": me.get("in_fleet", False),
        },
    }
    if with_fleet:
        told["fleet"] = _ask_if_allowed(lambda: client.get("/api/fleet")["fleet"])
    return told


def print_status(told: dict[str, Any]) -> None:
    """Print the status of a gateway elsewhere for people."""
    wrong = {name: said for name, said in (told["checks"] or {}).items() if said != "ok"}
    is_ill, mine = bool(wrong) or told["health"] == "degraded", told["remote"]
    from_here = "" if not told["version_drift"] else f"; this command is {told['installed_version']}"
    until = f", until {output.format_time(mine['expires_at'])}" if mine["expires_at"] else ""
    generation = "" if told["generation"] is None else f"      Generation: {told['generation']}"
    rows = [
        output.add_mark("⚠️ " if is_ill else "✅", "Gateway is running" + (", and is not well" if is_ill else "")),
        *(f"   {name}: {said}" for name, said in wrong.items()),
        "",
        f"   URL: {told['url']}" + (f"      (remote {mine['name']})" if mine["name"] else ""),
        f"   Version: {told['version']}{from_here}{generation}"
        f" (began {output.format_duration(told['generation_uptime'])} ago)",
        *(probe.describe_work(told["work"]) if told["work"] else []),
        *([] if "agent" in wrong else probe.describe_agent(told["agent"])),
        *backup_report.describe_backups(told["backup"]),
        f"   Token: {mine['token']}, with the scope {mine['scope']}{until}",
    ]
    output.print_text("\n".join(rows))
    if "fleet" in told:
        output.print_text("")
        fleet_report.print_fleet(None if told["fleet"] is None and mine["in_fleet"] else {"fleet": told["fleet"]})


def _ask_if_allowed(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (Forbidden, NotFound):  # the token may not see it, or the gateway is of an older version
        return None


def read_log_lines(lines: int, follow: bool, level: str) -> Generator[bytes, None, None]:
    """Yield the last lines of the log of a gateway elsewhere, then new ones if `follow` is set.

    Raises:
        GatewayError: the gateway cannot be reached, or the token has not the scope.
    """
    client = GatewayClient(open_link())
    wanted = min(lines, MAX_REMOTE_LINES)
    if not follow:
        for line in client.get("/api/logs", lines=str(wanted), level=level)["lines"]:
            yield json.dumps(line).encode()
        return
    while True:
        stream = client.open_stream("/api/logs", lines=str(wanted), level=level, follow=True)
        with stream as response, contextlib.suppress(OSError, ValueError):  # the connection broke
            for event in sse.read_events(response):
                if event.kind == "line":
                    yield json.dumps(event.data).encode()
        wanted = 0
        _await_return(client.link)


def _await_return(link: Link) -> None:
    """Wait until the gateway answers again, after a stream ended."""
    deadline = time.monotonic() + RETURN_TIMEOUT_SECONDS
    time.sleep(RECONNECT_POLL_SECONDS)
    while not link.is_answering():
        if time.monotonic() > deadline:
            raise Unavailable(f"{link.make_url('')} is gone.", remedy="Try again later.")
        time.sleep(RECONNECT_POLL_SECONDS)


def restart_gateway(reason: str, wait: float) -> dict[str, Any]:
    """Restart a gateway elsewhere, and wait until its next serving process answers. Returns what `restart` prints.

    Raises:
        Unavailable: there is none in time.
        GatewayError: the gateway cannot be reached, or refuses.
    """
    client, began = GatewayClient(open_link()), time.monotonic()
    before = client.get("/health")
    old = client.post("/api/gateway/restart", {"reason": reason[:200]})["generation"]
    while True:
        with contextlib.suppress(Unavailable):
            health = client.get("/health")
            new = health.get("generation", old)
            if new > old or health.get("instance") != before.get("instance"):
                return {
                    "restarted": True,
                    "pid": None,
                    "old": old,
                    "new": new,
                    "seconds": round(time.monotonic() - began, 2),
                    "refused_webhooks": [],
                    "agent": health.get("agent"),
                }
            _raise_refusal(health, before)
        if time.monotonic() - began > wait:
            raise Unavailable(
                f"generation {old} still serves after {wait:g} s.",
                remedy="The new settings may be refused. See: gateway logs",
            )
        time.sleep(GENERATION_POLL_SECONDS)


def _raise_refusal(health: dict[str, Any], before: dict[str, Any]) -> None:
    """Raise the reason for which the gateway has refused the restart, as soon as it notes one."""
    said, known = (health.get("checks") or {}).get("restart"), (before.get("checks") or {}).get("restart")
    if said and said != known:
        raise GatewayError(f"the gateway was not restarted: {said}", remedy="See: gateway logs")
