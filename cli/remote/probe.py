"""Tells whether the gateway runs: reads the lock's record, and asks the instance that wrote it. Takes no lock.

Light, because `gateway status` is to be quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from cli import output
from cli.instance import Instance
from gateway import health_probe
from gateway.supervisor.address import choose_connect_host
from gateway.supervisor.record import Record

#: seconds that a gateway on this machine may take to answer
PROBE_TIMEOUT_SECONDS = 2.0


class State(StrEnum):
    RUNNING = "running"
    #: its process is there but does not answer: it starts, stops or hangs
    UNRESPONSIVE = "unresponsive"
    STOPPED = "stopped"


class ProbeResult(NamedTuple):
    """The result of a probe."""

    state: State
    #: of the gateway that is there; None when stopped
    record: Record | None = None
    #: its answer to `GET /health`; None unless running
    health: dict[str, Any] | None = None
    #: the file with the certificates that it serves; None if it speaks plain HTTP
    certificates: Path | None = None

    @property
    def agent(self) -> dict[str, Any] | None:
        """The agent that answers a request that names none; None if it is unknown, or if none is enabled."""
        return (self.health or {}).get("agent")


def probe_gateway(instance: Instance) -> ProbeResult:
    """Return whether the gateway of an instance runs, and what it reports about itself."""
    found = instance.lock_record
    if found is None or not found.is_alive:
        return ProbeResult(State.STOPPED)
    host = choose_connect_host(found.host)
    ways = [instance.served_certificates, None] if instance.served_certificates.exists() else [None]
    for certificates in ways:  # after a change of the settings, it may still, or again, speak plain HTTP
        answer = health_probe.ask_health(host, found.port, PROBE_TIMEOUT_SECONDS, certificates=certificates)
        if answer is not None and answer.get("instance") == found.instance:
            return ProbeResult(State.RUNNING, found, answer, certificates)
    return ProbeResult(State.UNRESPONSIVE, found)


def describe_agent(agent: Mapping[str, Any] | None) -> list[str]:
    """Return the line about the default agent that commands print; none if it is unknown."""
    return [f"   Agent: {agent['id']}: {agent['introduction']}"] if agent else []


def describe_work(work: dict[str, Any]) -> list[str]:
    """Return the lines about the work of a gateway."""
    said = f"   Work: {work['running']} running, {work['queued']} waiting, {work['ended']:,} ended in 24 h"
    for count, what in ((work["pending_deliveries"], "to deliver"), (work["dead_deliveries"], "given up")):
        said += f", {count} {what}" if count else ""
    said += f"      Next schedule: {output.format_time(work['next_schedule'])}" if work["next_schedule"] else ""
    stranded = ", ".join(f"{agent}: {count}" for agent, count in work.get("stranded", {}).items())
    return [said, *([f"   Waiting for agents that are disabled or gone: {stranded}"] if stranded else [])]


def local_url(instance: Instance, record: Record) -> str:
    """Return the URL of a gateway for people and programs on this machine."""
    scheme = "https" if instance.served_certificates.exists() else "http"
    host = choose_connect_host(record.host)
    shown = "localhost" if host in ("127.0.0.1", "::1") else f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{record.port}"


class WorkReport(NamedTuple):
    """What a running gateway reports only to a caller with a token."""

    #: whether the gateway refuses the stored token; None if that is unknown
    token_drift: bool | None = None
    #: its answer to `GET /api/work`
    work: dict[str, Any] | None = None
    #: results by what it checks: `ok`, or what is wrong
    checks: dict[str, str] | None = None
    #: the last results of backups; None if there are none
    backup: dict[str, Any] | None = None


def ask_work(found: ProbeResult, secret: str | None) -> WorkReport:
    """Ask a running gateway about its work, with the stored token.

    The gateway counts wrong tokens, but never locks out a caller with a right one.
    """
    if found.state is not State.RUNNING or found.record is None:
        return WorkReport()
    header = "" if secret is None else f"Authorization: Bearer {secret}\r\n"
    host, port, known = choose_connect_host(found.record.host), found.record.port, found.certificates
    answer = health_probe.get_json(host, port, "/api/work", PROBE_TIMEOUT_SECONDS, header, certificates=known)
    if answer.status != 200:
        return WorkReport({401: True, 429: True}.get(answer.status or 0))
    answered = health_probe.get_json(host, port, "/health", PROBE_TIMEOUT_SECONDS, header, certificates=known)
    health = answered.body or {}
    return WorkReport(False, answer.body, health.get("checks"), health.get("backup"))
