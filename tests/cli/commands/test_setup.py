"""`gateway setup`: the guide in a real terminal, with real gateways, a scripted model and a scripted Telegram."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from gateway.config_files.json_file import decode_config
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.scripted_model import ScriptedModel
from harness.waiting import until, until_sync
from tests.support import ports, telegram_server
from tests.support.fixtures import scripted_model  # noqa: F401 a fixture
from tests.support.telegram_server import BOT_TOKEN, Telegram, Trouble

KEY = "sk-of-a-user-who-sets-up"
#: a program that answers as `opencode run` does, and one that is not signed in
_AGENT = """\
#!{python}
import os, sys, time
if "--version" in sys.argv:
    print("1.2.3")
else:
    {act}
"""


@pytest.fixture
async def telegram() -> AsyncIterator[Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


@pytest.fixture
def new_home(alone: tuple[Live, Shell], tmp_path: Path) -> tuple[Live, Shell]:
    """A state directory in which nothing is set up, on a machine without agents."""
    live, shell = alone
    live.config.unlink()
    shell.env["PATH"] = str(tmp_path / "bin")
    return live, shell


def read_config(live: Live) -> object:
    return decode_config(live.config.read_bytes(), "config.json")


async def test_a_new_user_is_led_from_nothing_to_an_answering_agent_and_a_paired_chat(
    new_home: tuple[Live, Shell],
    scripted_model: ScriptedModel,  # noqa: F811
    telegram: Telegram,
) -> None:
    live, shell = new_home
    live.config.write_text(
        f'{{\n  // mine\n  "channels": {{"telegram": {{"enabled": false, "base_url": "{telegram.base_url}"}}}}\n}}\n'
    )
    port = ports.free()

    with shell.terminal("setup", "--no-service", "--port", str(port)) as at:

        def first_steps() -> None:
            at.answer("Which one? [server]", "")
            at.answer("URL of the server", scripted_model.base_url)
            at.answer("Key; Enter for none", KEY)
            at.answer("Model", "scripted")
            at.wait_for("It answers:")
            at.answer("Start it now? [Y/n]", "")
            at.answer("Talk to the agent in Telegram? [y/N]", "y")
            at.answer("Token; Enter for none", BOT_TOKEN)
            at.wait_for("(Enter goes on without it)")

        await asyncio.to_thread(first_steps)
        code = at.shown.partition("Send this code to @")[2].split(": ")[1].split()[0]
        await telegram.say(7, code)
        await asyncio.to_thread(at.wait_for, "Paired.")
        await asyncio.to_thread(at.answer, "Open it, signed in? [Y/n]", "")
        ended = await asyncio.to_thread(at.end)
        shown = at.shown

    assert ended == 0
    assert f"http://localhost:{port}/#code=" in shown
    assert f"The gateway runs: http://localhost:{port}" in shown
    assert KEY not in shown
    assert BOT_TOKEN not in shown
    config = read_config(live)
    assert config == {
        "channels": {"telegram": {"enabled": True, "base_url": telegram.base_url}},
        "agents": {
            "list": [{"id": "main", "backend": "openai", "base_url": scripted_model.base_url, "model": "scripted"}]
        },
        "gateway": {"port": port},
    }
    assert "  // mine\n" in live.config.read_text()
    dotenv = live.home / ".env"
    assert dotenv.read_text() == f"OPENAI_API_KEY={KEY}\nTELEGRAM_BOT_TOKEN={BOT_TOKEN}\n"
    assert stat.S_IMODE(dotenv.stat().st_mode) == 0o600
    assert (await asyncio.to_thread(shell, "agent", "Hello")).code == 0
    await until(lambda: telegram.chats[7].texts, "the bot answers the code")


def test_a_second_walk_shows_what_is_there_and_changes_nothing(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    before = live.config.read_bytes()

    with shell.terminal("setup", "--no-service") as at:
        at.wait_for("The config file has: main (echo).")
        at.answer("Add another one? [y/N]", "")
        at.wait_for(f"The gateway runs, on port {live.port}.")
        at.answer("Talk to the agent in Telegram? [y/N]", "")
        at.answer("Open it, signed in? [Y/n]", "n")
        assert at.end() == 0

    assert live.config.read_bytes() == before
    assert not (live.home / "config.json.previous").exists()


def test_a_script_takes_the_defaults(new_home: tuple[Live, Shell]) -> None:
    live, shell = new_home
    port = ports.free()

    done = shell("setup", "--yes", "--no-service", "--port", str(port), "--json")

    assert (done.code, done.json["status"], done.json["running"]) == (0, "ok", True)
    assert done.json["url"] == f"http://localhost:{port}"
    assert read_config(live) == {"gateway": {"port": port}}


def test_without_a_terminal_the_option_that_asks_nothing_is_named(new_home: tuple[Live, Shell]) -> None:
    live, shell = new_home

    done = shell("setup")

    assert (done.code, done.out) == (2, "")
    assert "there is no terminal" in done.err
    assert "gateway setup --yes" in done.err
    assert not live.config.exists()


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(new_home: tuple[Live, Shell], steps: int) -> None:
    live, shell = new_home
    port = ports.free()
    questions = [
        ("Which one? [server]", "later"),
        ("Port [", str(port)),
        ("Start it now? [Y/n]", ""),
        ("Talk to the agent in Telegram? [y/N]", ""),
    ]

    with shell.terminal("setup", "--no-service") as at:
        for question, keys in questions[:steps]:
            at.answer(question, keys)
        at.answer(questions[steps][0], "\x03", end="")
        assert at.end() == 130
        assert "what is done stays" in at.shown
        assert "gateway setup" in at.shown

    assert live.config.exists() == (steps >= 2)
    if steps >= 2:
        assert read_config(live) == {"gateway": {"port": port}}
    assert (shell("status").code == 0) == (steps >= 3)


def test_a_port_that_is_taken_is_named_with_its_holder_and_the_next_one_is_proposed(
    new_home: tuple[Live, Shell], live: Callable[..., Live]
) -> None:
    other = live("other").start()
    mine, shell = new_home
    mine.config.write_text(json.dumps({"gateway": {"port": other.port}}))

    with shell.terminal("setup", "--no-service") as at:
        at.answer("Which one? [server]", "later")
        at.wait_for(f"is taken. Held by pid {other.process.pid if other.process else 0}")
        at.answer("Port [", "not-a-port")
        at.wait_for("A port is a number")
        at.answer("Port [", str(other.port))
        at.answer("Port [", "\x04", end="")
        assert at.end() == 130

    assert read_config(mine) == {"gateway": {"port": other.port}}


def make_agent(directory: Path, act: str) -> None:
    directory.mkdir(exist_ok=True)
    program = directory / "opencode"
    program.write_text(_AGENT.format(python=sys.executable, act=act))
    program.chmod(0o755)


def test_an_agent_that_cannot_answer_is_explained_and_another_one_can_be_chosen(
    new_home: tuple[Live, Shell], tmp_path: Path
) -> None:
    live, shell = new_home
    make_agent(tmp_path / "bin", 'sys.exit("not signed in: run opencode auth login")')

    with shell.terminal("setup", "--no-service", "--port", "0") as at:
        at.answer("Which one? [opencode]", "")
        at.wait_for("It did not answer:")
        at.wait_for("opencode auth login")
        at.answer("(again, other, keep)", "other")
        at.answer("Which one? [opencode]", "later")
        at.answer("Start it now? [Y/n]", "n")
        at.answer("Talk to the agent", "")
        assert at.end() == 0

    assert read_config(live) == {"gateway": {"port": 0}}


def test_ctrl_c_while_an_agent_is_asked_ends_the_agent(new_home: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = new_home
    make_agent(tmp_path / "bin", "open(sys.argv[0] + '.pid', 'w').write(str(os.getpid())); time.sleep(600)")
    pid = tmp_path / "bin" / "opencode.pid"

    with shell.terminal("setup", "--no-service") as at:
        at.answer("Which one? [opencode]", "")
        until_sync(lambda: pid.exists() and pid.read_text(), "the agent is asked")
        at.press("\x03")
        assert at.end() == 130
        assert "what is done stays" in at.shown

    until_sync(lambda: not psutil.pid_exists(int(pid.read_text())), "the agent is gone")
    assert not live.config.exists()


async def test_a_wrong_bot_token_is_refused_before_it_is_stored(
    new_home: tuple[Live, Shell], telegram: Telegram
) -> None:
    live, shell = new_home
    settings = {
        "agents": {"list": [{"id": "main", "backend": "echo"}]},
        "gateway": {"port": 0},
        "channels": {"telegram": {"enabled": False, "base_url": telegram.base_url}},
    }
    live.config.write_text(json.dumps(settings))
    telegram.trouble["getMe"] = [Trouble(401, "Unauthorized")]

    with shell.terminal("setup", "--no-service") as at:

        def walk() -> None:
            at.answer("Add another one? [y/N]", "")
            at.answer("Port [0]", "")
            at.answer("Start it now? [Y/n]", "n")
            at.answer("Talk to the agent in Telegram? [y/N]", "y")
            at.answer("Token; Enter for none", "no token")
            at.wait_for("a bot's token is a number")
            at.answer("Token; Enter for none", "123:wrong")
            at.wait_for("Unauthorized")
            at.answer("Token; Enter for none", "")

        await asyncio.to_thread(walk)
        assert await asyncio.to_thread(at.end) == 0

    assert read_config(live) == settings
    assert not (live.home / ".env").exists()
