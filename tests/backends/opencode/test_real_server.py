"""The server of the real opencode: started, shared, used from afar, cut off, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from gateway.domain.agent import PermissionPolicy
from gateway.domain.ports.backend import AgentHealth
from harness.scripted_model import ScriptedModel
from harness.waiting import PATIENCE, until
from tests.backends.opencode.rig import GATEWAY_ENVIRON, GATEWAY_SECRET, Rig, find_commands, pid_of_server, rigged
from tests.support import installed
from tests.support import opencode as real

pytestmark = [
    pytest.mark.agents("opencode"),
    pytest.mark.asyncio(loop_scope="module"),
]


module_fixture = pytest_asyncio.fixture(scope="module", loop_scope="module")


@module_fixture
async def stranger(model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a server that somebody else started; its password is in OPENCODE_TEST_PASSWORD."""
    home = tmp_path_factory.mktemp("stranger")
    env = real.environment(home) | {
        "PATH": GATEWAY_ENVIRON["PATH"],
        "BUN_TMPDIR": str(home),
        "OPENCODE_CONFIG_CONTENT": json.dumps(real.config(model.base_url)),
        "OPENCODE_SERVER_PASSWORD": GATEWAY_ENVIRON["OPENCODE_TEST_PASSWORD"],
    }
    process = await asyncio.create_subprocess_exec(
        installed.program("opencode"),
        "serve",
        "--port",
        "0",
        env=env,
        cwd=home,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while b"listening on" not in (line := await process.stdout.readline()):
            assert line, "the server has ended"
    yield line.split()[-1].decode()
    process.kill()
    await process.communicate()


async def test_a_server_that_is_killed_fails_its_turns_at_once_and_the_next_one_remembers(rig: Rig) -> None:
    workspace = rig.workspace()
    first = await rig.ask("[[say noted]] the word is heliotrope", workspace)
    sleep = f"sleep 4712.{os.getpid()}"  # that of no other test
    sleeping = asyncio.create_task(
        rig.ask(f'[[tool bash {{"command": "{sleep}; echo x", "description": "x"}}]]', workspace, first.ref)
    )
    await until(lambda: find_commands(sleep), "the command runs")

    os.kill(pid_of_server(rig), signal.SIGKILL)
    cut = await sleeping

    assert cut.error is not None
    assert "ended by signal 9" in cut.error.message
    assert not find_commands(sleep), "what it ran has ended before the turn could be tried again"
    second = await rig.ask("[[recall]]", workspace, first.ref)
    assert second.ref == first.ref
    assert "heliotrope" in second.reply


async def test_an_idle_server_is_stopped_and_started_again(model: ScriptedModel, tmp_path: Path) -> None:
    async with rigged(tmp_path, model, idle_stop=0.3) as rig:
        assert await rig.backend.check_health(rig.agent) == AgentHealth(
            ok=True, version=real.OPENCODE_VERSION, detail="its server is started when it is needed"
        )
        workspace = rig.workspace()
        first = await rig.ask("[[say noted]] the word is heliotrope", workspace)
        unpacked = list((tmp_path / "scratch").glob("*/.*.so"))
        await until(lambda: not rig.ledger.recorded, "the server is stopped")
        assert unpacked, "it unpacks there what it would leave in the temporary directory"
        assert not unpacked[0].exists()

        second = await rig.ask("[[recall]]", workspace, first.ref)

        assert "heliotrope" in second.reply
        assert len(rig.ledger.seen) == 3, "the server twice, and once for its version"


async def test_two_servers_do_not_prepare_the_same_home_at_once(model: ScriptedModel, tmp_path: Path) -> None:
    async with rigged(tmp_path, model) as rig:
        other = rig.but(options={"idle_stop": 600.0})

        answers = await asyncio.gather(rig.ask("[[say one]]"), other.ask("[[say two]]"))

        assert [answered.reply for answered in answers] == ["one", "two"]
        assert len(rig.ledger.recorded) == 2


async def test_a_server_that_ends_before_it_listens_is_started_once_more(model: ScriptedModel, tmp_path: Path) -> None:
    once = f'cd {tmp_path}; [ -f died ] && exec "$0" "$@"; touch died; echo CREATE TABLE workspace failed >&2; exit 1'
    async with rigged(tmp_path, model, command=["sh", "-c", once, installed.program("opencode")]) as rig:
        answered = await rig.ask("[[say noted]]")

    assert answered.reply == "noted"


async def test_a_server_needs_a_password_and_gets_no_secret_of_the_gateway(rig: Rig) -> None:
    answered = await rig.ask('[[tool bash {"command": "env", "description": "x"}]]')
    environ = psutil.Process(pid_of_server(rig)).environ()
    health = await rig.backend.check_health(rig.agent)

    assert health.ok
    assert health.version == real.OPENCODE_VERSION
    assert GATEWAY_SECRET not in answered.reply + str(environ)
    assert len(environ["OPENCODE_SERVER_PASSWORD"]) >= 32
    stranger = rig.but(options={"url": health.detail, "password": "guessed"})
    refused = await stranger.ask("hi")
    assert refused.error is not None
    assert "refused the password" in refused.error.message


async def test_the_models_of_a_server_are_offered_after_a_turn(rig: Rig) -> None:
    await rig.ask("[[say noted]]")
    offer = rig.backend.find_offer(rig.agent)

    assert offer is not None
    assert [model.id for model in offer.models or ()] == ["scripted/scripted", "scripted/scripted-b"]
    assert not offer.takes_model("scripted/scripted-c")


async def test_a_running_server_can_be_used(rig: Rig, stranger: str) -> None:
    guest = rig.but(options={"url": stranger + "/", "password_env": "OPENCODE_TEST_PASSWORD"})
    before = len(rig.ledger.seen)

    answered = await guest.ask("[[say from afar]]")
    health = await guest.backend.check_health(guest.agent)
    asking = guest.but(permissions=PermissionPolicy.ASK)

    assert answered.reply == "from afar"
    assert (health.version, health.missing) == (real.OPENCODE_VERSION, "")
    assert len(rig.ledger.seen) == before, "nothing was started"
    assert "says what opencode asks for" in (await asking.backend.check_health(asking.agent)).missing


async def test_a_connection_that_is_cut_during_a_turn_is_restored(rig: Rig, stranger: str) -> None:
    async with relay(stranger) as (url, cut):
        guest = rig.but(options={"url": url, "password_env": "OPENCODE_TEST_PASSWORD"})
        workspace = guest.workspace()
        turn = asyncio.create_task(guest.ask("[[slow 30 60]]", workspace))
        await until(lambda: rig.model.counters.active, "the answer comes in")
        for _ in range(3):
            await asyncio.sleep(0.4)
            cut()
        answered = await turn

    expected = "".join(f"w{number} " for number in range(30)).rstrip()
    assert answered.error is None
    assert answered.reply.rstrip() == expected
    assert answered.text.rstrip() == expected, "nothing is missing and nothing comes twice"


async def test_an_unreachable_server_comes_with_a_remedy(rig: Rig, closed_port: int) -> None:
    guest = rig.but(options={"url": f"http://127.0.0.1:{closed_port}"})

    answered = await guest.ask("hi")
    health = await guest.backend.check_health(guest.agent)

    assert answered.error is not None
    assert "does not answer" in answered.error.message
    assert not health.ok


async def test_a_missing_password_variable_is_explained(rig: Rig, stranger: str) -> None:
    answered = await rig.but(options={"url": stranger, "password_env": "NOT_SET"}).ask("hi")

    assert answered.error is not None
    assert "NOT_SET is not set" in answered.error.message


async def test_a_missing_program_comes_with_a_remedy(rig: Rig) -> None:
    lost = rig.but(options={"command": ["opencode-that-is-nowhere"]})

    answered = await lost.ask("hi")
    health = await lost.backend.check_health(lost.agent)

    assert answered.error is not None
    assert "no such program" in answered.error.message
    assert not health.ok
    assert "Install it" in health.detail


async def test_a_program_that_is_no_opencode_fails_with_what_it_said(rig: Rig) -> None:
    for script, seconds, message in [
        ("echo not today >&2; exit 3", PATIENCE, "status 3: not today"),
        ("sleep 60", 0.3, "within 0.3 s"),
    ]:
        other = rig.but(options={"command": ["sh", "-c", script], "start_timeout": seconds})
        answered = await other.ask("hi")
        assert answered.error is not None
        assert message in answered.error.message


@asynccontextmanager
async def relay(target: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Pass connections on to a server; give the URL, and what cuts those that are open."""
    host, _, port = target.removeprefix("http://").rstrip("/").rpartition(":")
    writers: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writers.discard(writer)
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    def cut() -> None:
        for writer in writers:
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    finally:
        server.close()
        cut()
