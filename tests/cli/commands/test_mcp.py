"""`gateway mcp`: with a real MCP client on a pipe, and with messages that no client sends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from harness.command_line import Shell, next_line
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync


@asynccontextmanager
async def piped(shell: Shell, mode: str) -> AsyncIterator[Client]:
    program = StdioServerParameters(
        command=sys.executable, args=["-m", "cli.main", "mcp"], env=shell.env, cwd=shell.cwd
    )
    async with Client(stdio_client(program), mode=mode) as client:
        yield client


def line(method: str, id_: Any = 1, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}) + "\n"


def using(tool: str, id_: Any = 1, **given: Any) -> str:
    return line("tools/call", id_, name=tool, arguments=given)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_an_agent_uses_the_gateway_through_a_pipe(shell: Shell, mode: str) -> None:
    told: list[str | None] = []

    async def note(progress: float, _: float | None, said: str | None) -> None:
        told.append(said)

    async with piped(shell, mode) as client:
        listed = (await client.list_tools()).tools
        answer = await client.call_tool(
            "send_message", {"message": "@@ words 2 0.1", "session": f"pipe {mode}"}, progress_callback=note
        )
        refused = await client.call_tool("get_task", {"task_id": "none"})

    assert "run_task" in [tool.name for tool in listed]
    assert answer.structured_content["reply"] == "w0 w1 "
    assert "[running]" in told
    assert refused.is_error


async def test_a_client_finds_out_by_itself_which_version_is_spoken(shell: Shell) -> None:
    async with piped(shell, "auto") as client:
        assert (await client.call_tool("list_agents", {})).structured_content["agents"]


def test_each_line_is_answered_under_its_own_id(shell: Shell) -> None:
    done = shell("mcp", given=line("ping", "a") + "\n" + line("ping", 7) + line("nonsense", "b"))

    answers = {answer["id"]: answer for answer in done.lines}
    assert (done.code, done.err) == (0, "")
    assert (answers["a"]["result"], answers[7]["result"]) == ({}, {})
    assert answers["b"]["error"]["code"] == -32601


@pytest.mark.parametrize(
    "given", ["hello", "[]", "7", "\udcff", '{"a":' * 3000, '"' + "x" * (8 << 20) + '"'], ids=range(6)
)
def test_a_line_that_is_no_message_ends_nothing(shell: Shell, given: str) -> None:
    with shell.start("mcp", stdin=subprocess.PIPE, errors="surrogateescape") as program:
        out, err = program.communicate(f"{given}\n" + line("ping"), timeout=PATIENCE)

    unread, answered = sorted(map(json.loads, out.splitlines()), key=lambda answer: answer["id"] or 0)
    assert (unread["id"], unread["error"]["code"]) == (None, -32700)
    assert (answered["id"], answered["result"], err) == (1, {}, "")


def test_a_message_that_the_gateway_refuses_is_answered_under_its_id(shell: Shell) -> None:
    done = shell("mcp", given=line("x" * 200, 7) + using("send_message", 8, message="x" * (2 << 20)))

    answers = {answer["id"]: answer["error"]["message"] for answer in done.lines}
    assert "method" in answers[7]
    assert "limits.body" in answers[8]


@pytest.mark.slow
def test_who_gives_up_a_call_gets_no_answer_and_the_task_goes_on(shell: Shell) -> None:
    with shell.start("mcp", stdin=subprocess.PIPE) as program:
        assert program.stdin is not None
        said = using("send_message", 1, message="@@ ask go on", session="given up")
        said = said.replace('"params": {', '"params": {"_meta": {"progressToken": 1}, ')
        program.stdin.write(said)
        program.stdin.flush()
        assert next_line(program.stdout)["method"] == "notifications/progress"
        program.stdin.write('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}\n')
        program.stdin.write(line("ping", 2))
        program.stdin.flush()
        while "id" not in (first := next_line(program.stdout)):
            pass
        [task] = shell("tasks", "list", "--session", "main:mcp:given up", "--json").json["tasks"]
        until_sync(lambda: shell("tasks", "permissions", task["id"], "--json").json["permissions"], "it asks")
        assert shell("tasks", "answer", task["id"], "p1", "allow").code == 0
        assert shell("tasks", "watch", task["id"]).code == 0
        out, _ = program.communicate(line("ping", 3), timeout=PATIENCE)

    assert [first["id"], *(answer["id"] for answer in map(json.loads, out.splitlines()) if "id" in answer)] == [2, 3]
    history = shell("sessions", "show", "given up", "--json").json
    assert history["messages"][-1]["content"] == "allow"


def test_ctrl_c_does_not_wait_for_answers(shell: Shell) -> None:
    task = shell("tasks", "add", "@@ hang", "--json").json["task"]["id"]
    with shell.start("mcp", stdin=subprocess.PIPE) as program:
        assert program.stdin is not None
        waiting = using("wait_task", 1, task_id=task, wait=40).replace(
            '"params": {', '"params": {"_meta": {"progressToken": 1}, '
        )
        program.stdin.write(waiting)
        program.stdin.flush()
        assert next_line(program.stdout)["method"] == "notifications/progress"
        program.send_signal(signal.SIGINT)

        assert program.wait(PATIENCE) == 130
    shell("tasks", "cancel", task)


def test_a_restart_in_between_is_not_noticed(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    with shell.start("mcp", stdin=subprocess.PIPE) as program:
        assert program.stdin is not None
        program.stdin.write(using("run_task", 1, input="before", session="kept"))
        program.stdin.flush()
        first = next_line(program.stdout)["result"]["structuredContent"]
        live.kill()
        live.start()
        out, err = program.communicate(using("wait_task", 2, task_id=first["task_id"]), timeout=PATIENCE)

    assert json.loads(out)["result"]["structuredContent"]["reply"] == "echo: before"
    assert err == ""


def test_without_a_gateway_it_says_so(alone: tuple[Live, Shell]) -> None:
    _, shell = alone
    done = shell("mcp", given=line("ping"))

    assert (done.code, done.out) == (3, "")
    assert done.err == "the gateway is not running. Start it: gateway start\n"


def test_with_a_wrong_token_it_says_so(shell: Shell) -> None:
    done = shell("mcp", given=line("ping"), env={"MOONGATE_TOKEN": "wrong"})

    assert (done.code, done.out) == (1, "")
    assert "the gateway refuses the token from MOONGATE_TOKEN" in done.err
