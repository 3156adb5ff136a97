"""`gateway config set`, `unset` and `get`."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from cli.config_edit import settings
from cli.config_edit.changes import get_at
from cli.instance import Instance
from cli.main import main
from cli.remote import config_drift
from gateway import config
from gateway.assembly.checks import check_settings
from gateway.config_files.json_file import decode_config
from gateway.errors import ConfigError, GatewayError, InvalidRequest
from harness.command_line import Result, Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE

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
        ("log.level", "loud", 'log.level: unknown value "loud"; one of debug, info, '),
        ("gateway.port", "loud", "gateway.port: expected a whole number, got text."),
        ("agents.list.main", '{"id": "other", "backend": "echo"}', "cannot have another id there: 'other'"),
        ("agents.list.0.model", "x", "there is no agent '0' in the config file. It has main."),
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


KEYS = st.sampled_from(
    [
        *(each.name for each in config.list_settings()),
        *("agents.list.main", "agents.list.main.env", "agents.list.x", "channels.telegram", "inbound.github"),
    ]
)
TAILS = st.sampled_from(
    ["", "", ".", ".x", ".0", '."a.b"', '."\\ud800"', '."\\x"', '."', ".model", ".a.b.c", "..a", ".secret", ".é"]
)
VALUES = st.text(max_size=12) | st.sampled_from(
    [
        *("null", "[]", "{}", "NaN", "1e999", "-1", "9" * 5000, "[" * 400 + "]" * 400, '"\\ud800"', '{"a": {"b": []}}'),
        *("${X", "${X}", "\0", "\ud800", "true", '"x"'),
    ]
)


@settings_of_hypothesis(max_examples=60, suppress_health_check=list(HealthCheck))
@given(key=KEYS, tail=TAILS, value=VALUES, is_json=st.booleans())
def test_whatever_is_given_is_set_or_refused_in_words(
    alone: tuple[Live, Shell], key: str, tail: str, value: str, is_json: bool
) -> None:
    live, shell = alone
    before = '{"agents": {"list": [{"id": "main", "backend": "echo"}]}} // mine'
    live.config.write_text(before)

    with contextlib.suppress(ConfigError, InvalidRequest):
        settings.set_setting(shell.env, key + tail, value, is_json=is_json)
        assert "// mine" in live.config.read_text()
        return
    assert live.config.read_text() == before


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


@pytest.fixture
def run(
    alone: tuple[Live, Shell], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Runs commands in this process, which is faster."""
    for name, value in alone[1].env.items():
        monkeypatch.setenv(name, value)

    def run_command(*words: str, given: str = "", env: Mapping[str, str] = MappingProxyType({})) -> Result:
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdin", io.StringIO(given))
            for name, value in env.items():
                patched.setenv(name, value)
            code = main(["config", *words])
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return run_command


def test_a_secret_is_never_printed(alone: tuple[Live, Shell], run: Callable[..., Result]) -> None:
    said = []

    said += [run("set", "channels.telegram.token", "--stdin", given=f"{SECRET}\n")]
    said += [run("set", "channels.telegram.token", SECRET + "x")]
    said += [run("set", "channels.telegram.token", "-", given=SECRET)]
    said += [run("get", key) for key in ("channels", "channels.telegram", "channels.telegram.token")]
    said += [run("get", "channels.telegram.token", "--json"), run("show")]
    said += [run("set", "agents.list.main.env.KEY", SECRET), run("get", "agents.list")]
    said += [run("set", "agents.list.main.env", json.dumps({"KEY": SECRET})), run("unset", "agents.list.main.env.KEY")]
    said += [
        run("set", "agents.list.main.env.KEY", "other"),
        run("set", "channels", json.dumps({"telegram": {"token": SECRET}})),
    ]
    said += [run("unset", "channels.telegram.token")]

    assert all(SECRET not in one.out + one.err for one in said)
    assert [one.code for one in said] == [0] * 14 + [78]  # a bot without a token cannot be
    assert "--stdin" in said[1].err
    assert read(alone[0])["channels"]["telegram"]["token"] == SECRET


def test_a_secret_is_typed_unseen_in_a_terminal(alone: tuple[Live, Shell]) -> None:
    live, shell = alone

    with shell.terminal("config", "set", "channels.telegram.token", "-") as at:
        at.answer("it is not shown", SECRET)
        assert at.end() == 0
        assert SECRET not in at.shown

    assert read(live)["channels"]["telegram"]["token"] == SECRET


def test_comments_form_and_line_ends_of_the_file_stay(alone: tuple[Live, Shell], run: Callable[..., Result]) -> None:
    live = alone[0]
    live.config.write_bytes(b"\xef\xbb\xbf" + COMMENTED.encode())

    assert run("set", "log.level", "info").code == 0
    assert live.config.read_bytes() == b"\xef\xbb\xbf" + COMMENTED.replace('"debug"', '"info"').encode()
    assert run("set", "limits.runs", "3").code == 0
    assert run("unset", "limits.runs").code == 0
    assert run("unset", "limits").code == 0
    assert live.config.read_bytes() == b"\xef\xbb\xbf" + COMMENTED.replace('"debug"', '"info"').encode()


def test_the_value_in_force_and_its_source_are_told(run: Callable[..., Result]) -> None:
    variable = {"MOONGATE_MAX_RUNS": "9"}

    assert run("get", "limits.runs").out == "64\n"
    assert run("get", "limits.runs", "--json").json["source"] == "default"
    assert run("set", "limits.runs", "7").code == 0
    assert run("get", "limits.runs", "--json").json == {"name": "limits.runs", "value": 7, "source": "file"}
    over = run("set", "limits.runs", "8", env=variable)
    assert (over.code, "the variable MOONGATE_MAX_RUNS" in over.err) == (0, True)
    assert run("get", "limits.runs", env=variable).out == "9\n"
    assert run("unset", "limits.runs").out == "Removed limits.runs. It has its default again: 64\n"
    assert run("unset", "limits.runs").out == "limits.runs is not in the config file.\n"


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


#: makes the same changes once for each moment at which it is killed: before the first step that touches the disk,
#: before the second, and so on; each child starts with the same files
_KILLED_AT_EACH_STEP = """
import os, pathlib, shutil, signal, sys
from cli.config_edit.dotenv import set_in_dotenv
from cli.config_edit.settings import set_setting_value

home, kept = map(pathlib.Path, sys.argv[1:])
env = {**os.environ}

def change():
    set_in_dotenv(env, "OPENAI_API_KEY", "key")
    set_setting_value(env, "agents.list.second", {"backend": "openai", "model": "some-model"})
    set_setting_value(env, "agents.default", "second")

def count_steps(most):
    left = [most]
    def wrap(act):
        def step(*given, **named):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*given, **named)
        return step
    for name in ("open", "replace", "rename", "link", "fsync", "unlink", "chmod", "mkdir"):
        setattr(os, name, wrap(getattr(os, name)))

for most in range(1000):
    child = os.fork()
    if child == 0:
        count_steps(most)
        change()
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    shutil.copytree(home, kept / str(most))
    if ended == 0:
        break
    assert ended == -signal.SIGKILL, ended
    for name in ("config.json", ".env"):
        (home / name).unlink(missing_ok=True)
    shutil.copy(kept.parent / "first.json", home / "config.json")
print(most)
"""


def test_a_kill_before_any_step_leaves_a_config_that_can_be_used(alone: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = alone
    shutil.copy(live.config, tmp_path / "first.json")
    kept = tmp_path / "kept"
    kept.mkdir()

    words = [sys.executable, "-c", _KILLED_AT_EACH_STEP, str(live.home), str(kept)]
    done = subprocess.run(words, env=shell.env, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
    seen = set()
    for home in sorted(kept.iterdir()):
        env = {**shell.env, "MOONGATE_HOME": str(home)}
        check_settings(config.load(env), env)
        content = decode_config((home / "config.json").read_bytes(), "config.json")["agents"]
        seen.add((len(content["list"]), content.get("default"), (home / ".env").exists()))
    assert seen == {(1, None, False), (1, None, True), (2, None, True), (2, "second", True)}


def test_a_disk_that_takes_nothing_is_said_and_the_file_stays(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    before = live.config.read_bytes()
    assert shell("config", "get", "limits.runs").code == 0  # the lock file is there

    words = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-B", "-m", "cli.main"]
    words += ["config", "set", "limits.runs", "3"]
    done = subprocess.run(words, env=shell.env, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert (done.returncode, "it is as it was" in done.stderr) == (78, True), done.stderr
    assert live.config.read_bytes() == before
    assert [path.name for path in live.home.glob("config.json*")] == ["config.json"]


def test_a_value_on_standard_input_may_be_a_list_or_an_object(
    run: Callable[..., Result], alone: tuple[Live, Shell]
) -> None:
    live, _ = alone

    assert run("set", "gateway.allowed_hosts", "--stdin", given='["a.example"]\n').code == 0
    assert run("set", "agents.list.second", "-", given='{"backend": "echo"}').code == 0

    assert read(live)["gateway"]["allowed_hosts"] == ["a.example"]
    assert read(live)["agents"]["list"][1] == {"id": "second", "backend": "echo"}


def test_a_number_below_zero_is_a_value(run: Callable[..., Result], alone: tuple[Live, Shell]) -> None:
    live, _ = alone
    live.config.write_text('{"channels": {"telegram": {"token": "1:a"}}}')

    assert run("set", "channels.telegram.chats", "-1001234567890,5", "--json").json["changed"] is True
    assert read(live)["channels"]["telegram"]["chats"] == [-1001234567890, 5]
    assert "expected a whole number >= 0" in run("set", "gateway.port", "-1").err


def test_what_is_no_setting_can_be_removed_where_the_file_has_it(
    run: Callable[..., Result], alone: tuple[Live, Shell]
) -> None:
    live, _ = alone
    live.config.write_text('{"log": {"lvl": 1}, "agents": {"list": [{"id": "main", "backend": "echo", "modl": 2}]}}')

    assert "there is no setting log.other" in run("unset", "log.other").err
    assert run("unset", "log.lvl").code == 78, "the other one is still there, and no gateway would start"
    live.config.write_text('{"agents": {"list": [{"id": "main", "backend": "echo", "modl": 2}]}}')
    assert run("unset", "agents.list.main.modl").code == 0
    assert read(live) == {"agents": {"list": [{"id": "main", "backend": "echo"}]}}


def test_a_read_only_file_stays(run: Callable[..., Result], alone: tuple[Live, Shell]) -> None:
    live, _ = alone
    before = live.config.read_bytes()
    live.config.chmod(0o400)

    refused = run("set", "log.level", "debug")

    assert (refused.code, live.config.read_bytes()) == (78, before)
    assert f"it is read-only. If you may change it: chmod u+w {live.config}" in refused.err


def test_a_password_in_a_url_is_told_to_be_in_the_history(run: Callable[..., Result]) -> None:
    done = run("set", "store.url", "postgresql://ann:hidden@localhost/moongate")

    assert "may now be in the history of your shell" in done.err
    assert "hidden" not in done.out + done.err


def test_another_host_on_the_same_port_needs_a_stop(run: Callable[..., Result], alone: tuple[Live, Shell]) -> None:
    live, _ = alone
    used = live.config.with_name("config.json.last-good")
    used.write_text('{"gateway": {"port": 5}}')
    instance = Instance.from_environment(live.env)

    for text, advice in (
        ('{"gateway": {"port": 5, "host": "127.0.0.1"}}', "gateway restart"),
        ('{"gateway": {"port": 5, "host": "0.0.0.0"}}', "gateway stop, then: gateway start"),
        ('{"gateway": {"port": 6, "host": "0.0.0.0"}}', "gateway restart"),
        ('{"gateway": {"prt": 5}}', "gateway config check"),
    ):
        live.config.write_text(text)
        assert config_drift.advise_restart(instance).startswith(advice)
