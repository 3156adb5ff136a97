"""An opencode whose server speaks version 2 of its API is driven over the real `opencode acp`.

The server of version 2 is scripted, because no opencode 2 can be installed here; what answers over ACP is real.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import structlog

from gateway.backends import BackendResources
from gateway.backends.opencode.backend import OpencodeBackend
from gateway.backends.opencode.options import Options
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.event import Log, Notice, Permission, Tool
from gateway.domain.ports.backend import FileKind
from gateway.errors import AgentError
from gateway.process.child import Children
from harness.pictures import make_png
from harness.received_files import ReceivedFile
from harness.scripted_model import ScriptedModel, serve_model
from harness.waiting import PATIENCE, until
from tests.support import opencode as real
from tests.support import opencode2
from tests.support.attachments import FileDesk, attach_all, make_zip
from tests.support.ledger import MemoryLedger
from tests.support.scripted_opencode2 import SCRIPTED_VERSION
from tests.support.turns import Heard, exchange, listen, turn

pytestmark = pytest.mark.agents("opencode")


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with serve_model() as model:
        yield model


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[OpencodeBackend]:
    """Open a backend, as a gateway does at its start; nothing may outlive it."""
    environ = {"PATH": os.environ["PATH"]}
    ledger = MemoryLedger()
    async with OpencodeBackend(
        BackendResources(children=Children(ledger, environ), environ=environ, directory=directory / "own")
    ) as backend:
        yield backend
    assert not ledger.alive(), "nothing outlives the backend"


def make_agent(entry: dict[str, Any]) -> Agent:
    options = msgspec.convert({name: entry.pop(name) for name in ("command", "config")}, Options)
    return msgspec.structs.replace(msgspec.convert(entry, Agent), options=options)


@pytest.fixture
def agent(model: ScriptedModel, tmp_path: Path) -> Agent:
    return make_agent(opencode2.agent(model.base_url, tmp_path / "home"))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    return place


async def test_turns_work_and_remember_and_one_line_tells_why_it_is_driven_over_acp(
    agent: Agent, workspace: Path, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as lines:
        async with opened(tmp_path) as backend:
            first = await listen(backend, turn(agent, "[[say noted]] heliotrope", workspace=workspace))
            second = await listen(
                backend, turn(agent, "[[recall]]", workspace=workspace, session_ref=first.session_ref)
            )
            found = await backend.check_health(agent)
            offer = backend.find_offer(agent)
        async with opened(tmp_path) as backend:
            third = await listen(
                backend, turn(agent, "[[recall]]", workspace=workspace, session_ref=second.session_ref)
            )

    assert first.answer == "noted"
    assert "heliotrope" in second.answer
    assert "heliotrope" in third.answer, "after a restart of the gateway, too"
    assert first.session_ref == second.session_ref == third.session_ref
    assert first.usage.input > 100
    assert (found.ok, found.version) == (True, SCRIPTED_VERSION)
    assert "opencode acp" in found.detail
    assert offer is not None
    assert [model.id for model in offer.models or ()] == ["scripted/scripted", "scripted/scripted-b"]
    [told, _] = [line for line in lines if line["event"] == "opencode.over_acp"]
    assert told["version"] == SCRIPTED_VERSION
    served = opencode2.served(tmp_path / "home")
    assert len(served) == 2, "each start of the gateway asks once"
    assert not any(psutil.pid_exists(pid) for pid in served)


async def test_model_system_prompt_and_agent_keep_their_meaning(
    model: ScriptedModel, agent: Agent, workspace: Path, tmp_path: Path
) -> None:
    chosen = msgspec.structs.replace(
        agent,
        system_prompt="You are a lighthouse.",
        options=msgspec.structs.replace(agent.options, agent="plan"),
    )

    async with opened(tmp_path) as backend:
        heard = await listen(
            backend, turn(chosen, "[[say beam]] far out", workspace=workspace, model="scripted/scripted-b")
        )

    assert heard.answer == "beam"
    [request] = model.requests  # no other request asks for a title
    body = request["body"]
    assert body["model"] == "scripted-b"
    assert "You are a lighthouse." in json.dumps(body["messages"])
    assert "Plan mode" in json.dumps(body["messages"]), "the agent `plan` of opencode"


@pytest.mark.parametrize("policy", PermissionPolicy)
async def test_its_permission_requests_get_the_answer_of_the_policy(
    agent: Agent, workspace: Path, tmp_path: Path, policy: PermissionPolicy
) -> None:
    asked = msgspec.structs.replace(agent, permissions=policy)
    call = json.dumps({"command": "touch made", "description": "x"})

    heard = Heard()
    allowed = policy is PermissionPolicy.ALLOW
    async with opened(tmp_path) as backend:
        with nullcontext() if allowed else pytest.raises(AgentError, match="not allowed"):
            await listen(backend, turn(asked, f"[[tool bash {call}]]", workspace=workspace), heard)

    assert (workspace / "made").exists() == allowed, "asking nobody denies"
    assert heard.of(Tool)
    assert bool(heard.of(Permission)) == (policy is PermissionPolicy.DENY), "the engine tells what people answer"


async def test_its_own_rules_count_if_permissions_are_not_set(agent: Agent, workspace: Path, tmp_path: Path) -> None:
    call = json.dumps({"command": "touch made", "description": "x"})

    async with opened(tmp_path) as backend:
        heard = await listen(backend, turn(agent, f"[[tool bash {call}]]", workspace=workspace))

    assert (workspace / "made").exists()
    assert not heard.of(Permission)


async def test_a_conversation_that_began_over_the_server_goes_on_over_acp_and_back(
    model: ScriptedModel, agent: Agent, workspace: Path, tmp_path: Path
) -> None:
    older = make_agent(real.agent(model.base_url, tmp_path / "home"))

    async with opened(tmp_path) as backend:
        first = await listen(backend, turn(older, "[[say noted]] heliotrope", workspace=workspace))
        second = await listen(backend, turn(agent, "[[recall]]", workspace=workspace, session_ref=first.session_ref))
        third = await listen(backend, turn(older, "[[history]]", workspace=workspace, session_ref=second.session_ref))

    assert "heliotrope" in second.answer
    assert third.answer.endswith("user,assistant,user,assistant,user")
    assert third.session_ref == first.session_ref


async def test_a_conversation_does_not_move_to_another_workspace(agent: Agent, workspace: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    agent = msgspec.structs.replace(agent, permissions=PermissionPolicy.ALLOW)

    async with opened(tmp_path) as backend:
        first = await listen(backend, turn(agent, "[[say noted]]", workspace=workspace))
        moved = await listen(
            backend,
            turn(
                agent,
                '[[tool bash {"command": "pwd", "description": "x"}]]',
                workspace=other,
                session_ref=first.session_ref,
                history=exchange("hello", "noted", "run-0"),
            ),
        )

    assert str(other) in moved.answer
    assert moved.session_ref != first.session_ref
    [told] = [one for one in moved.of(Log) if one.notice is Notice.SESSION_RESTARTED]
    assert "begins a new conversation" in told.message


async def test_a_check_of_an_unused_agent_tells_how_it_is_driven(agent: Agent, tmp_path: Path) -> None:
    async with opened(tmp_path) as backend, asyncio.timeout(PATIENCE):
        found = await backend.check_health(agent)
        while "starting" in found.detail:  # a check does not wait for long
            assert found.ok
            found = await backend.check_health(agent)

    assert (found.ok, found.version) == (True, SCRIPTED_VERSION)
    assert "opencode acp" in found.detail


async def test_the_checks_of_an_unused_agent_start_its_server_once(agent: Agent, tmp_path: Path) -> None:
    options = msgspec.structs.replace(agent.options, idle_stop=0.01)
    agent = msgspec.structs.replace(agent, options=options)

    async with opened(tmp_path) as backend, asyncio.timeout(PATIENCE):
        while "opencode acp" not in (await backend.check_health(agent)).detail:
            pass
        [shared] = backend._servers.values()
        await until(lambda: shared.live_connection() is None, "it counts as unused")
        found = await backend.check_health(agent)

    assert "opencode acp" in found.detail
    assert len(opencode2.served(tmp_path / "home")) == 1


async def test_files_reach_the_model_over_acp(
    agent: Agent, model: ScriptedModel, workspace: Path, tmp_path: Path
) -> None:
    files = attach_all({"a.png": make_png(), "b.zip": make_zip()})
    async with opened(tmp_path) as backend:
        given = FileDesk(tmp_path / "files").attach_to(turn(agent, "[[say seen]]", workspace=workspace), files)
        heard = await listen(backend, given)
        kinds = backend.accepts(agent)

    assert heard.answer == "seen"
    assert model.files == [ReceivedFile("image/png", make_png())]
    assert f"{workspace}/attachments/run-1/b.zip (" in json.dumps(model.requests[0]["body"])
    assert kinds is not None
    assert FileKind.IMAGE in kinds
