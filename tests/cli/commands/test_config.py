"""`gateway config`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from harness.command_line import Shell
from harness.live_gateway import Live

TOKEN = "a-token-of-more-than-24-characters"


def write(live: Live, settings: Any) -> None:
    live.config.write_text(settings if isinstance(settings, str) else json.dumps(settings))


def test_path_prints_where_the_file_is(alone: tuple[Live, Shell]) -> None:
    live, shell = alone

    assert shell("config", "path") == (0, f"{live.config}\n", "")
    assert shell("config", "path", "--json").json == {
        "path": str(live.config),
        "exists": True,
        "home": str(live.home),
    }


def test_path_says_so_when_there_is_no_file(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.unlink()

    result = shell("config", "path")

    assert (result.out, "does not exist" in result.err) == (f"{live.config}\n", True)


def test_a_good_config_is_called_fine(alone: tuple[Live, Shell]) -> None:
    live, shell = alone

    assert shell("config", "check") == (0, "~/config.json: fine. Agents: main (echo).\n", "")
    assert shell("config", "check", "--json").json == {
        "status": "ok",
        "config": str(live.config),
        "agents": [{"id": "main", "backend": "echo", "enabled": True}],
        "refused_webhooks": [],
        "idle_limits": [],
    }


def test_a_limit_that_cannot_hold_is_named(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    silent = {"id": "main", "backend": "command", "command": ["cat"], "budget": {"runs": 5, "tokens": 9, "cost": 1}}
    write(live, {"agents": {"list": [silent, {"id": "echo", "backend": "echo", "budget": {"tokens": 9}}]}})

    result = shell("config", "check")

    assert result.code == 0
    assert result.err == (
        "The tokens limit of the agent 'main' cannot hold: its agent does not report tokens; limit runs instead.\n"
        "The cost limit of the agent 'main' cannot hold: its agent does not report costs;"
        " limit runs or tokens instead.\n"
    )


def test_without_a_file_the_agent_is_the_one_that_is_found(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.unlink()

    result = shell("config", "check", env={"PATH": str(live.home)})

    assert (
        result.out
        == "no config file, all defaults: fine. Agents: main (echo), because no agent was found on this machine.\n"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gatewy": {}}, '~/config.json: gatewy: unknown field; did you mean "gateway"?'),
        ({"gateway": {"port": "x"}}, "~/config.json: gateway.port: expected a whole number, got text"),
        (
            {"agents": {"list": [{"id": "main", "backend": "opencod"}]}},
            'config.json: agents.list[0].backend: unknown value "opencod"; did you mean "opencode"?',
        ),
        (
            {"agents": {"default": "mian", "list": [{"id": "main", "backend": "echo"}]}},
            'agents.default: there is no agent "mian"; did you mean "main"?',
        ),
        ({"gateway": {"host": "0.0.0.0", "auth": {"mode": "none"}}}, "Set gateway.host to 127.0.0.1"),
        ('{"gateway": x}', "~/config.json: line 1: not valid JSON"),
        ("[]", "~/config.json: not a JSON object."),
    ],
    ids=["key", "type", "backend", "agent", "exposure", "syntax", "array"],
)
def test_a_bad_config_exits_78_with_one_line_that_names_the_key_and_the_remedy(
    settings: Any, said: str, alone: tuple[Live, Shell]
) -> None:
    live, shell = alone
    write(live, settings)

    result = shell("config", "check")

    assert (result.code, result.out, result.err.count("\n")) == (78, "", 1)
    assert said in result.err


def test_the_gateway_refuses_a_bad_config_in_the_same_words(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    write(live, {"gateway": {"port": 0}, "agents": {"list": [{"id": "main", "backend": "opencod"}]}})

    run, check = shell("run"), shell("config", "check")

    assert run == check
    assert len(live.logged("generation.failed")) == 1


def test_a_bad_value_in_the_environment_is_named_by_its_variable(alone: tuple[Live, Shell]) -> None:
    result = alone[1]("config", "check", "--json", env={"MOONGATE_PORT": "many"})

    assert (result.code, result.json["error"]["code"]) == (78, "CONFIG_ERROR")
    assert "MOONGATE_PORT" in result.err


def test_each_command_says_in_the_same_words_that_the_url_of_a_store_is_none(alone: tuple[Live, Shell]) -> None:
    _, shell = alone
    env = {"MOONGATE_STORE_URL": "mysql://moongate@db/moongate"}
    said = "MOONGATE_STORE_URL: store.url: this is not the URL of a PostgreSQL database"

    for command in (["config", "check"], ["run"], ["start"], ["worker"], ["migrate", "--to", "sqlite"]):
        result = shell(*command, env=env)

        assert (result.code, f"{said}. Write postgresql://user@host" in result.err) == (78, True), result
    assert f"{said}\n     fix: write postgresql://user@host" in shell("doctor", env=env).out


def test_show_says_where_each_setting_comes_from(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    write(live, {"gateway": {"port": 1234, "stop_grace": 2}, "agents": {"list": [{"id": "a", "backend": "echo"}]}})
    (live.home / ".env").write_text("MOONGATE_STOP_GRACE=3\nMOONGATE_HOST=localhost\n")

    found = shell("config", "show", "--json", env={"XCCLAW_APP_HOST": "127.0.0.2"}).json

    rows = {row["name"]: (row["value"], row["source"]) for row in found["settings"]}
    assert list(rows) == [setting.name for setting in config.list_settings()]
    assert rows["gateway.port"] == (1234, "file")
    assert rows["gateway.stop_grace"] == (3.0, ".env: MOONGATE_STOP_GRACE")
    assert rows["gateway.host"] == ("127.0.0.2", "environment: XCCLAW_APP_HOST")
    assert rows["log.level"] == ("info", "default")
    assert rows["agents.list"] == ([{"id": "a", "backend": "echo"}], "file")


def test_show_masks_what_is_secret_wherever_it_stands(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    agent = {
        "id": "a",
        "backend": "openai",
        "api_key": "sk-one-very-secret-thing",
        "api_key_file": "/path/of/key",
        "env": {"ANY_NAME": "a-very-secret-thing"},
    }
    tracing = {"headers": {"X-Key": "another-very-secret-thing"}}
    secrets = {"gateway": {"auth": {"token": TOKEN}}, "opencode": {"password": "short"}, "tracing": tracing}
    write(live, {**secrets, "agents": {"list": [agent]}})

    shown = shell("config", "show").out + shell("config", "show", "--json").out

    assert "very-secret" not in shown
    assert TOKEN not in shown
    assert "short" not in shown
    assert f"{TOKEN[:4]}…{TOKEN[-4:]}" in shown
    assert "/path/of/key" in shown


def test_the_file_that_is_checked_is_the_one_that_is_named(tmp_path: Path, alone: tuple[Live, Shell]) -> None:
    (tmp_path / "other.json").write_text('{"gateway": {"port": -1}}')

    result = alone[1]("config", "check", "--config", "other.json")

    assert (result.code, "other.json: gateway.port" in result.err) == (78, True)


def test_the_token_is_printed_wherever_it_is(alone: tuple[Live, Shell]) -> None:
    own, shell = alone

    none = shell("config", "token")
    in_environment = shell("config", "token", "--json", env={"OPENCLAW_TOKEN": "abc"})
    (own.home / "token").write_text("from-the-file\n")
    (own.home / "token").chmod(0o600)

    assert (none.code, none.out) == (1, "")
    assert "gateway start" in none.err
    assert in_environment.json == {"token": "abc", "source": "OPENCLAW_TOKEN"}
    assert shell("config", "token") == (0, "from-the-file\n", "")
