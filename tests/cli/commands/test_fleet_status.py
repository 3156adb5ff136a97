"""`gateway status` of a gateway in a fleet, and `gateway status --fleet`."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync
from tests.support import postgres


@pytest.fixture
def desk(live: Callable[..., Live]) -> Live:
    """A gateway that leads a fleet of one."""
    url = postgres.shared_server().url(postgres.create_database())
    made = live(env={"MOONGATE_STORE_URL": url, "MOONGATE_FLEET_HOST": "desk"})
    made.home.chmod(0o700)
    made.start()
    until_sync(lambda: made.call("GET", "/health").body["fleet"]["leads"], "it leads")
    return made


def test_a_member_says_how_many_there_are_and_who_leads(desk: Live) -> None:
    told = Shell(desk.env, desk.home)("status").out

    assert "   Fleet: 1 member alive, desk leads (this one)      (gateway status --fleet)\n" in told


def test_it_lists_nodes_and_then_what_waits_for_each_agent(desk: Live) -> None:
    shell = Shell(desk.env, desk.home)
    idle = shell("status", "--fleet")
    desk.call("POST", "/api/tasks", {"input": "@@ hang"})
    until_sync(lambda: desk.call("GET", "/api/work").body["running"] == 1, "it is at work")
    lines = shell("status", "--fleet").out.splitlines()

    assert "Nothing runs or waits." in idle.err
    nodes = next(n for n, line in enumerate(lines) if line.startswith("HOST"))
    assert lines[nodes].split() == ["HOST", "ROLE", "STATE", "AT", "WORK", "LEASE", "AGENTS", "VERSION"]
    assert lines[nodes + 1].split()[:6] == ["desk", "gateway", "leads", "1", "of", "64"]
    assert [line.split() for line in lines[nodes + 3 :]] == [
        ["AGENT", "RUNNING", "DISPATCHED", "WAITING", "OLDEST"],
        ["main", "1", "0", "0", "-"],
    ]


def test_it_says_where_the_limits_of_an_agent_differ(desk: Live) -> None:
    told = [{"agent": "main", "max_concurrent": 1, "budget": {"cost": 5}}]
    with psycopg.connect(desk.env["MOONGATE_STORE_URL"], autocommit=True) as database:
        database.execute(
            "INSERT INTO moongate.nodes (name, host, role, version, agents, slots, started, lease, limits)"
            " SELECT 'other', 'rack', 'worker', version, agents, slots, started + 1, lease, %s FROM moongate.nodes",
            [json.dumps(told)],
        )

    said = Shell(desk.env, desk.home)("status", "--fleet").err

    assert (
        "The configs of the members differ in the limits of main (desk: 2 at the same time;"
        " rack: 1 at the same time, $5.00 a day)."
    ) in said


def test_its_json_is_that_of_the_api(desk: Live) -> None:
    shell = Shell(desk.env, desk.home)
    found = shell("status", "--fleet", "--json").json["fleet"]

    assert [(one["host"], one["role"], one["leads"]) for one in found["nodes"]] == [("desk", "gateway", True)]
    assert set(found) == set(desk.call("GET", "/api/fleet").body["fleet"])
    assert shell("status", "--json").json["fleet"] is None


def test_a_narrow_terminal_shows_one_node_below_the_other(desk: Live) -> None:
    with Shell(desk.env, desk.home).terminal("status", "--fleet", env={"COLUMNS": "40"}) as at:
        assert at.end() == 0

    assert "\r\nHost      desk\r\nRole      gateway\r\nState     leads\r\n" in at.shown


def test_a_gateway_that_is_alone_says_so(shell: Shell) -> None:
    told = shell("status", "--fleet")

    assert told.code == 0
    assert "This gateway is in no fleet: it is alone with its database." in told.err
    assert "Fleet:" not in told.out
