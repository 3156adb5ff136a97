"""What a running gateway tells about its fleet, as `gateway status --fleet` shows it. Light, as the probe is."""

from __future__ import annotations

from typing import Any

from cli import output
from cli.arguments import describe_budget
from cli.remote import probe
from cli.remote.probe import ProbeResult, State
from gateway import health_probe
from gateway.supervisor.address import choose_connect_host

#: bytes of the answer about a fleet: enough for some thousand nodes
MAX_FLEET_BYTES = 4 << 20
#: characters of the list of a node's agents
MAX_AGENTS_WIDTH = 24


def ask_fleet(found: ProbeResult, secret: str | None) -> dict[str, Any] | None:
    """Return the answer of a running gateway to `GET /api/fleet`; None if it gives none."""
    if found.state is not State.RUNNING or found.record is None:
        return None
    header = "" if secret is None else f"Authorization: Bearer {secret}\r\n"
    host, port = choose_connect_host(found.record.host), found.record.port
    answer = health_probe.get_json(
        host,
        port,
        "/api/fleet",
        probe.PROBE_TIMEOUT_SECONDS,
        header,
        most=MAX_FLEET_BYTES,
        certificates=found.certificates,
    )
    return answer.body if answer.status == 200 else None


def describe_fleet(health: dict[str, Any]) -> list[str]:
    """Return the line about the fleet of a gateway by its answer to `GET /health`; none if it is alone."""
    if (found := health.get("fleet")) is None:
        return []
    members = f"{found['members']} member{'' if found['members'] == 1 else 's'} alive"
    leader = "nobody leads" if found["leader"] is None else f"{found['leader']} leads"
    return [f"   Fleet: {members}, {leader}{' (this one)' if found['leads'] else ''}      (gateway status --fleet)"]


def print_fleet(answer: dict[str, Any] | None) -> None:
    """Print the nodes of a fleet, and below them what waits for each agent."""
    if answer is None:
        output.print_note("The fleet is not known: the gateway does not tell it. See: gateway doctor")
    elif (fleet := answer["fleet"]) is None:
        output.print_note("This gateway is in no fleet: it is alone with its database. See: gateway worker --help")
    else:
        _print_nodes(fleet["nodes"])
        output.print_text("")
        _print_queues(fleet["queues"])
        _print_differences(fleet["differing_limits"])


def _print_nodes(nodes: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["host"],
            one["role"],
            "leads" if one["leads"] else "alive" if one["alive"] else "gone",
            f"{one['running']} of {one['slots']}" if one["slots"] or one["running"] else "-",
            _describe_lease(one["lease_ends_in"]),
            output.shorten_text(", ".join(one["agents"]) or "-", MAX_AGENTS_WIDTH),
            one["version"],
        )
        for one in nodes
    ]
    output.print_table(["host", "role", "state", "at work", "lease", "agents", "version"], rows)


def _describe_lease(seconds: float) -> str:
    told = output.format_duration(int(abs(seconds)))
    return told if seconds >= 0 else f"{told} ago"


def _print_queues(queues: list[dict[str, Any]]) -> None:
    if not queues:
        output.print_note("Nothing runs or waits.")
        return
    rows = [
        (
            one["name"],
            one["running"],
            one["dispatched"],
            one["waiting"],
            output.format_duration(one["oldest_wait"]) if one["dispatched"] else "-",
        )
        for one in queues
    ]
    output.print_table(["agent", "running", "dispatched", "waiting", "oldest"], rows)


def _print_differences(differences: list[dict[str, Any]]) -> None:
    """Say which agents the configs of the members do not allow the same."""
    for one in differences:
        told = "; ".join(f"{at['host']}: {_describe_limits(at)}" for at in one["limits"])
        output.print_note(
            f"The configs of the members differ in the limits of {one['agent']} ({told})."
            " They count over the whole fleet: make them the same."
        )


def _describe_limits(limits: dict[str, Any]) -> str:
    budget = "" if limits["budget"] is None else f", {describe_budget(limits['budget'])}"
    return f"{limits['max_concurrent']} at the same time{budget}"
