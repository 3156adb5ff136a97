"""`gateway config set`, `unset` and `get`."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.config_edit import settings
from cli.config_edit.changes import get_at
from gateway.config_files.json_file import decode_config
from gateway.errors import GatewayError
from harness.command_line import Shell
from harness.live_gateway import Live

SECRET = "123456:a-secret-that-nobody-may-see"
COMMENTED = """\
// home
{
\t"gateway": {"port": 0}, // any
\t"log": {
\t\t"level": "debug" /* for now */
\t}
}
""".replace("\n", "\r\n")

#: what cannot be without the one part that a test sets
_NEEDS_ITS_PARTS = ("agents.list.second", "channels.telegram", "inbound.github")


def read(live: Live) -> Any:
    return decode_config(live.config.read_bytes(), "config.json")


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        ("gateway.port", "8080", 8080),
        ("gateway.stop_grace", "2.5", 2.5),
        ("gateway.auth.token", "1234", "1234"),
        ("gateway.auth.token", '"quoted"', "quoted"),
        ("gateway.auth.token", "${HOME}", "${HOME}"),
        ("gateway.port", "${PORT_OF_TEST}", "${PORT_OF_TEST}"),
        ("gateway.allowed_hosts", "a.example, b.example", ["a.example", "b.example"]),
        ("gateway.allowed_hosts", '["a.example"]', ["a.example"]),
        ("retention.events_days", "null", None),
        ("files.fetch", "true", True),
        ("webhooks.allow_private", "10.0.0.0/8", ["10.0.0.0/8"]),
        ('webhooks.secrets."https://a.example"', "whsec_" + "QUFB" * 8, "whsec_" + "QUFB" * 8),
        ("webhooks.secrets.https://a.example", '["whsec_' + "QUFB" * 8 + '"]', ["whsec_" + "QUFB" * 8]),
        ("channels.telegram", '{"token": "1:a"}', {"token": "1:a"}),
        ("channels.telegram.token", "1:a", "1:a"),
        ("inbound.github.secret", "a-long-enough-secret", "a-long-enough-secret"),
        ("agents.list.main.model", "some-model", "some-model"),
        ("agents.list.main.budget.runs", "5", 5),
        ("agents.list.main.env.NAME", "7", "7"),
        ("agents.list.second.backend", "echo", "echo"),
        (
            "agents.list.second",
            '{"backend": "echo", "script": true}',
            {"id": "second", "backend": "echo", "script": True},
        ),
    ],
)
def test_a_set_value_is_in_the_file_and_unset_takes_it_out(
    alone: tuple[Live, Shell], key: str, given: str, value: Any
) -> None:
    live, shell = alone
    before = live.config.read_bytes()
    env = {**shell.env, "PORT_OF_TEST": "0"}

    done = settings.set_setting(env, key, given)

    assert (done.change.has_changed, get_at(read(live), done.key.path)) == (True, (True, value))
    assert done.change.copy is not None
    assert done.change.copy.read_bytes() == before
    assert not settings.set_setting(env, key, given).change.has_changed
    whole = next((each for each in _NEEDS_ITS_PARTS if key.startswith(each)), key)
    gone = settings.unset_setting(env, whole)
    assert not get_at(read(live), gone.key.path)[0]


@pytest.mark.parametrize(
    ("key", "given", "what"),
    [
        ("gateway.prt", "1", 'did you mean "port"?'),
        ("gateway.port", "many", "gateway.port: "),
        ("gateway.port", "70000", "gateway.port: "),
        ("gateway.port.x", "1", "gateway.port is one value"),
        ("gateway", "{}x", "gateway: takes a JSON object"),
        ("log.level", "loud", "log.level: "),
        ("channels.telegrm.token", "x", 'did you mean "telegram"?'),
        ("channels.telegram.mode", "x", "channels.telegram.mode: "),
        ("agents.list.main.modl", "x", 'did you mean "model"?'),
        ("agents.list.main.backend", "nothing", "unknown value"),
        ("agents.default", "nobody", "there is no agent"),
        ("gateway.port", "${NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE is not set"),
        ("..", "x", "is not the name of a setting"),
        ("gateway.", "x", "is not the name of a setting"),
        ("", "x", "is not the name of a setting"),
        ('gateway."po', "x", "is not the name of a setting"),
        ("gateway.auth.mode", "none", "loopback"),
    ],
)
def test_what_a_gateway_would_refuse_is_not_written(alone: tuple[Live, Shell], key: str, given: str, what: str) -> None:
    live, shell = alone
    live.config.write_text(json.dumps({"gateway": {"port": 0, "host": "0.0.0.0"}, "agents": read(live)["agents"]}))
    before = live.config.read_bytes()

    with pytest.raises(GatewayError, match=re.escape(what)):
        settings.set_setting(shell.env, key, given)

    assert live.config.read_bytes() == before
    assert not live.config.with_name("config.json.previous").exists()


def test_comments_form_and_line_ends_of_the_file_stay(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.write_bytes(b"\xef\xbb\xbf" + COMMENTED.encode())

    assert shell("config", "set", "log.level", "info").code == 0
    assert live.config.read_bytes() == b"\xef\xbb\xbf" + COMMENTED.replace('"debug"', '"info"').encode()
    assert shell("config", "set", "limits.runs", "3").code == 0
    assert shell("config", "unset", "limits.runs").code == 0
    assert shell("config", "unset", "limits").code == 0
    assert live.config.read_bytes() == b"\xef\xbb\xbf" + COMMENTED.replace('"debug"', '"info"').encode()


def test_a_link_leads_to_the_file_that_is_changed_and_its_mode_stays(alone: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = alone
    real = tmp_path / "v1" / "config.json"
    real.parent.mkdir()
    live.config.rename(real)
    real.chmod(0o640)
    live.config.symlink_to(real)

    assert shell("config", "set", "limits.runs", "3").code == 0

    assert live.config.is_symlink()
    assert read(live)["limits"] == {"runs": 3}
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert stat.S_IMODE(real.with_name("config.json.previous").stat().st_mode) == 0o640


def test_a_config_that_does_not_exist_is_made_private(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.unlink()

    done = shell("config", "set", "gateway.port", "0", "--json")

    assert (done.code, done.json["copy"]) == (0, None)
    assert live.config.read_text() == '{\n  "gateway": {\n    "port": 0\n  }\n}\n'
    assert stat.S_IMODE(live.config.stat().st_mode) == 0o600


def test_a_secret_is_never_printed(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    said = []

    said += [shell("config", "set", "channels.telegram.token", "--stdin", given=f"{SECRET}\n")]
    said += [shell("config", "set", "channels.telegram.token", SECRET + "x")]
    said += [shell("config", "set", "channels.telegram.token", "-", given=SECRET)]
    said += [shell("config", "get", key) for key in ("channels", "channels.telegram", "channels.telegram.token")]
    said += [shell("config", "get", "channels.telegram.token", "--json"), shell("config", "show")]
    said += [shell("config", "set", "agents.list.main.env.KEY", SECRET), shell("config", "get", "agents.list")]
    said += [shell("config", "unset", "channels.telegram.token")]

    assert all(SECRET not in one.out + one.err for one in said)
    assert [one.code for one in said] == [0] * 10 + [78]  # a bot without a token cannot be
    assert "--stdin" in said[1].err
    assert read(live)["channels"]["telegram"]["token"] == SECRET


def test_a_secret_is_typed_unseen_in_a_terminal(alone: tuple[Live, Shell]) -> None:
    live, shell = alone

    with shell.terminal("config", "set", "channels.telegram.token", "-") as at:
        at.answer("it is not shown", SECRET)
        assert at.end() == 0
        assert SECRET not in at.shown

    assert read(live)["channels"]["telegram"]["token"] == SECRET


def test_the_value_in_force_and_its_source_are_told(alone: tuple[Live, Shell]) -> None:
    _, shell = alone

    assert shell("config", "get", "limits.runs").out == "64\n"
    assert shell("config", "get", "limits.runs", "--json").json["source"] == "default"
    assert shell("config", "set", "limits.runs", "7").code == 0
    assert shell("config", "get", "limits.runs", "--json").json == {"name": "limits.runs", "value": 7, "source": "file"}
    over = shell("config", "set", "limits.runs", "8", env={"MOONGATE_MAX_RUNS": "9"})
    assert (over.code, "the variable MOONGATE_MAX_RUNS" in over.err) == (0, True)
    assert shell("config", "get", "limits.runs", env={"MOONGATE_MAX_RUNS": "9"}).out == "9\n"
    assert shell("config", "unset", "limits.runs").out == "Removed limits.runs. It has its default again: 64\n"
    assert shell("config", "unset", "limits.runs").out == "limits.runs is not in the config file.\n"


def test_a_running_gateway_takes_it_at_its_next_restart(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()

    done = shell("config", "set", "limits.runs", "7")

    assert "gateway restart" in done.err
    assert shell("config", "set", "limits.runs", "8", "--json").json["restart"] is True
    assert shell("restart").code == 0
    assert shell("status", "--json").json["config_drift"] is None


def test_commands_at_the_same_time_lose_nothing(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    names = [f"NAME{number}" for number in range(6)]

    with ThreadPoolExecutor(len(names)) as pool:
        done = list(pool.map(lambda name: shell("config", "set", f"agents.list.main.env.{name}", name), names))

    assert [one.code for one in done] == [0] * len(names)
    assert read(live)["agents"]["list"][0]["env"] == {name: name for name in names}


#: sets one setting again and again, and says so before each
_SET_AGAIN = """
import os, sys
from cli.config_edit.settings import set_setting_value
for number in range(1, 1000):
    set_setting_value(os.environ, "limits.runs", number)
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_config_that_can_be_used(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    for after in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", _SET_AGAIN], env=shell.env, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            last = int(process.stdout.readline())
            time.sleep(after * 0.013)  # any moment will do
            process.send_signal(signal.SIGKILL)
            last = max([last, *map(int, process.stdout.read().split())])

        assert read(live)["limits"]["runs"] in (last, last + 1)
        settings.set_setting(shell.env, "gateway.stop_grace", str(after + 1.0))


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_to_is_said(alone: tuple[Live, Shell], tmp_path: Path) -> None:
    _, shell = alone
    place = tmp_path / "closed"
    place.mkdir()
    (place / "c.json").write_text('{"gateway": {"port": 0}}')
    place.chmod(0o500)

    done = shell("--config", str(place / "c.json"), "config", "set", "limits.runs", "3")

    place.chmod(0o700)
    assert (done.code, "it is as it was" in done.err) == (78, True)
