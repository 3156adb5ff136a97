"""Settings: where they come from, and what is said about wrong ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.assembly.checks import check_settings
from gateway.assembly.secret_values import collect_secrets
from gateway.errors import ConfigError


def load(home: Path, content: Any = None, env: dict[str, str] | None = None, **flags: Any) -> config.Config:
    if content is not None:
        (home / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return config.load({"MOONGATE_HOME": str(home), **(env or {})}, {"gateway.port": flags.get("port")})


def test_defaults_hold_without_any_file(tmp_path: Path) -> None:
    loaded = load(tmp_path)

    assert (loaded.gateway.host, loaded.gateway.port, loaded.gateway.auth.mode) == ("127.0.0.1", 18790, "token")
    assert loaded.database_path == tmp_path / "data" / "moongate.db"


def test_flags_win_over_the_environment_over_dotenv_over_the_file(tmp_path: Path) -> None:
    file = {"gateway": {"port": 1}}
    (tmp_path / ".env").write_text("MOONGATE_PORT=2\n")

    assert load(tmp_path, file, {"MOONGATE_PORT": "3"}, port=4).gateway.port == 4
    assert load(tmp_path, file, {"MOONGATE_PORT": "3"}).gateway.port == 3
    assert load(tmp_path, file).gateway.port == 2
    (tmp_path / ".env").unlink()
    assert load(tmp_path, file).gateway.port == 1


def test_a_list_in_the_environment_has_commas(tmp_path: Path) -> None:
    assert load(tmp_path, env={"MOONGATE_FLEET_AGENTS": "main, coder,"}).fleet.agents == ["main", "coder"]
    assert load(tmp_path, env={"MOONGATE_FLEET_AGENTS": "main"}).fleet.agents == ["main"]


def test_a_dotenv_in_the_working_directory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / ".env").write_text("MOONGATE_PORT=2\n")
    monkeypatch.chdir(place)

    assert load(tmp_path).gateway.port == 18790


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("XCCLAW_APP_PORT", "3005", 3005),
        ("XCCLAW_APP_HOST", "0.0.0.0", "0.0.0.0"),
        ("XITTO_SERVER_TOKEN", "secret", "secret"),
        ("OPENCLAW_TOKEN", "secret", "secret"),
        ("XITTO_MODEL", "m", "m"),
    ],
)
def test_names_of_the_seeds_are_understood(tmp_path: Path, name: str, value: str, setting: object) -> None:
    loaded = load(tmp_path, env={name: value})

    known = next(row for row in config.list_settings() if name in row.env)
    found: Any = loaded
    for step in known.name.split("."):
        found = getattr(found, step)
    assert found == setting


def test_our_own_name_wins_over_a_seeds(tmp_path: Path) -> None:
    assert load(tmp_path, env={"XCCLAW_APP_PORT": "1", "MOONGATE_PORT": "2"}).gateway.port == 2


def test_the_seeds_sample_config_works_unchanged(tmp_path: Path) -> None:
    sample = {"gateway": {"host": "0.0.0.0", "port": 18790, "auth": {"token": "your-secret-token"}}}

    assert load(tmp_path, sample).gateway.auth.token == "your-secret-token"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"gateway": {"prot": 1}}, 'gateway.prot: unknown field; did you mean "port"?'),
        ({"gatway": {}}, 'gatway: unknown field; did you mean "gateway"?'),
        ({"auth": {"token": "x"}}, 'auth: unknown field; did you mean "gateway.auth"?'),
        ({"token": "x"}, 'token: unknown field; did you mean "gateway.auth.token"?'),
        ({"host": "x"}, 'host: unknown field; did you mean "gateway.host" or "opencode.host" or "fleet.host"?'),
        ({"gateway": {"token": "x"}}, 'gateway.token: unknown field; did you mean "gateway.auth.token"?'),
        ({"agents": {"runs": 3}}, 'agents.runs: unknown field; did you mean "limits.runs"?'),
        ({"zzz": 1}, "zzz: unknown field; one of gateway, agents,"),
        ({"gateway": {"port": "x"}}, "gateway.port: expected a whole number, got text"),
        ({"gateway": {"port": 70000}}, "gateway.port: expected a whole number <= 65535"),
        ({"gateway": {"auth": {"mode": "nope"}}}, 'gateway.auth.mode: unknown value "nope"; did you mean "none"?'),
        ({"gateway": {"auth": {"token": ""}}}, "gateway.auth.token: an empty token protects nothing."),
        (
            {"gateway": {"host": "127.0.0.1\0"}},
            r"gateway.host: '127.0.0.1\x00' is no name or address of this machine.",
        ),
        ({"gateway": {"host": "local host"}}, "gateway.host: 'local host' is no name or address of this machine."),
        ('{"gateway":\n {,}}', "line 2: not valid JSON"),
        ("[1]", "not a JSON object"),
        ("", "not valid JSON"),
        ("[" * 200_000, "not valid JSON"),
        (b"\xff".decode("latin1"), "not valid JSON"),
    ],
)
def test_a_wrong_file_is_told_in_one_line_that_names_the_setting(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 78


def test_a_wrong_environment_value_names_the_variable_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"MOONGATE_PORT: .*\(sets gateway\.port\)"):
        load(tmp_path, env={"MOONGATE_PORT": "abc"})


@pytest.mark.parametrize(
    ("content", "env", "said"),
    [
        ({"data": {"directory": "~nosuchuser/x"}}, {}, "data.directory: there is no user 'nosuchuser'"),
        ({"data": {"directory": "/tmp/a\0b"}}, {}, "data.directory: a path cannot contain the character NUL"),
        ({}, {"MOONGATE_DATA_DIR": "~nosuchuser"}, "data.directory: there is no user 'nosuchuser'"),
        ({}, {"MOONGATE_CONFIG": "~nosuchuser/c"}, "MOONGATE_CONFIG: there is no user 'nosuchuser'"),
        ({}, {"MOONGATE_HOME": "~nosuchuser/c"}, "MOONGATE_HOME: there is no user 'nosuchuser'"),
        ({}, {"MOONGATE_HOME": "/caf\udce9"}, "MOONGATE_HOME: the path /caf\\xe9 is not valid UTF-8"),
        ({}, {"MOONGATE_DATA_DIR": "/caf\udce9"}, "MOONGATE_DATA_DIR: not valid UTF-8 (sets data.directory)"),
        ({}, {"MOONGATE_TOKEN": "caf\udce9"}, "MOONGATE_TOKEN: not valid UTF-8 (sets gateway.auth.token)"),
    ],
)
def test_a_path_or_value_that_nobody_can_use_is_told_by_its_name(
    tmp_path: Path, content: Any, env: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content, env)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data": {"directory": "~nosuchuser/x"}}, "data.directory: there is no user"),
        ({"data": {"directory": "a\0b"}}, "data.directory: a path cannot contain"),
        ({"gateway": {"auth": {"token": ""}}}, "gateway.auth.token: an empty token"),
        ({"gateway": {"auth": {"token": "a\nb"}}}, "gateway.auth.token: a token is one line"),
        ({"gateway": {"auth": {"mode": "none"}, "host": "0.0.0.0"}}, 'gateway.auth.mode: "none" is allowed'),
        ({"gateway": {"host": "a b"}}, "gateway.host: 'a b' is no name"),
        ({"gateway": {"public_url": "https://a.example/path"}}, "gateway.public_url: 'https://a.example/path' is not"),
        ({"gateway": {"public_url": "gate.example"}}, "gateway.public_url: 'gate.example' is not the address"),
        ({"gateway": {"tls": {"key": "key.pem"}}}, "gateway.tls.key: there is no certificate"),
        ({"gateway": {"trusted_proxies": ["proxy"]}}, "gateway.trusted_proxies: 'proxy' is not an address"),
        (
            {"agents": {"default": "b", "list": [{"id": "a", "backend": "echo"}]}},
            'agents.default: there is no agent "b"',
        ),
        ({"agents": {"list": [{"id": "a", "backend": "echo"}] * 2}}, "agents.list: two agents have"),
        ({"agents": {"list": [{"id": "a"}]}}, "agents.list[0].backend: is missing"),
        (
            {"agents": {"list": [{"id": "a", "backend": "echo", "env": {"LD_PRELOAD": "x"}}]}},
            "agents.list[0].env: 'LD_PRELOAD' cannot be passed",
        ),
        ({"store": {"url": ""}}, "store.url: this is not the URL of a PostgreSQL database. Write postgresql://"),
        ({"cron": {"timezone": "Mars/Base"}}, "cron.timezone: there is no time zone"),
        ({"channels": {"telgram": {}}}, 'channels: there is no channel "telgram"'),
        ({"channels": {"telegram": {"token": "x"}}}, "channels.telegram.token: a bot's token"),
        (
            {"channels": {"telegram": {"token_file": "/none/such"}}},
            "channels.telegram.token_file: cannot read the secret",
        ),
        ({"channels": {"telegram": {"token_file": "~nosuchuser/x"}}}, "channels.telegram.token_file: there is no user"),
        ({"inbound": {"a b": {"secret": "x"}}}, "inbound.a b: a name has only"),
        ({"inbound": {"github": {"secret": " "}}}, "inbound.github.secret: a blank secret"),
        ({"inbound": {"github": {"secret_file": "/none/such"}}}, "inbound.github.secret_file: cannot read the secret"),
        ({"inbound": {"standard": {"secret": "whsec_%"}}}, "inbound.standard.secret: a Standard Webhooks secret"),
        (
            {"alerts": {"receivers": {"me": {}}}},
            "alerts.receivers.me: give one of chat, webhook and command; it has none",
        ),
        (
            {"alerts": {"receivers": {"me": {"chat": "telegram:1", "webhook": "http://a/"}}}},
            "alerts.receivers.me: give one of chat, webhook and command; it has chat and webhook",
        ),
        (
            {"alerts": {"receivers": {"me": {"chat": "telegram:1"}}}},
            'alerts.receivers.me.chat: the channel "telegram" is not configured',
        ),
        (
            {"alerts": {"receivers": {"me": {"webhook": "http://:80/"}}}},
            "alerts.receivers.me.webhook: 'http://:80/' is",
        ),
        (
            {"alerts": {"receivers": {"me": {"command": ["/none/such"]}}}},
            "alerts.receivers.me.command: there is no program /none/such. Correct its path.",
        ),
        (
            {"alerts": {"receivers": {"me": {"command": ["/usr"]}}}},
            "alerts.receivers.me.command: there is no program /usr. Correct its path.",
        ),
        (
            {"alerts": {"receivers": {"me": {"command": ["~/notify"]}}}},
            "alerts.receivers.me.command: '~/notify' is no whole path. Begin it with a slash.",
        ),
        (
            {"alerts": {"receivers": {"me": {"webhook": "http://a/", "sources": ["corn"]}}}},
            "alerts.receivers.me.sources: there is no source 'corn'; did you mean \"cron\"?",
        ),
        ({"webhooks": {"secret": "whsec_%"}}, "webhooks.secret: a Standard Webhooks secret"),
        ({"webhooks": {"allow_private": ["10.0.0.1/8"]}}, 'webhooks.allow_private: "10.0.0.1/8" is neither'),
    ],
)
def test_an_error_about_a_setting_names_the_file_that_it_comes_from(tmp_path: Path, settings: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(load(tmp_path, settings), {})

    assert str(caught.value).startswith(f"{tmp_path}/config.json: {said}")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MOONGATE_DATA_DIR", "~nosuchuser/x", "data.directory: there is no user"),
        ("MOONGATE_TOKEN", " x", "gateway.auth.token: a token is one line"),
        ("MOONGATE_HOST", "a b", "gateway.host: 'a b' is no name"),
        ("MOONGATE_AGENT", "b", 'agents.default: there is no agent "b"'),
        ("MOONGATE_TIMEZONE", "Mars/Base", "cron.timezone: there is no time zone"),
        ("MOONGATE_STORE_URL", "mysql://u:horse@h/d", "store.url: this is not the URL of a PostgreSQL database. Write"),
        ("MOONGATE_STORE_URL", "postgresql:/u:horse@h/d", "store.url: this is not the URL of a PostgreSQL database."),
        ("MOONGATE_STORE_URL", "postgresql://u:ho rse@h/d", "store.url: the URL has a blank or a line break. Write"),
        ("MOONGATE_WEBHOOK_SECRET", "whsec_%", "webhooks.secret: a Standard Webhooks secret"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_error_about_a_setting_names_the_variable_that_it_comes_from(
    tmp_path: Path, name: str, value: str, said: str, place: str
) -> None:
    (tmp_path / ".env").write_text(f'{name}="{value}"' * (place == ".env"))

    with pytest.raises(ConfigError) as caught:
        check_settings(load(tmp_path, {}, {name: value} if place == "environment" else {}), {})

    where = name if place == "environment" else f"{tmp_path}/.env: {name}"
    assert str(caught.value).startswith(f"{where}: {said}")
    assert "horse" not in str(caught.value)


def test_a_worker_is_told_that_it_needs_the_url_of_its_fleet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(load(tmp_path, env={"MOONGATE_ROLE": "worker"}), {})

    assert str(caught.value) == (
        "a worker needs store.url: the PostgreSQL URL of its fleet."
        " Set store.url, or MOONGATE_STORE_URL, to that of its gateways."
    )


@pytest.mark.parametrize("workspace", ["~nosuchuser/x", "a\0b"])
def test_a_workspace_that_is_no_path_is_told_with_its_agent(tmp_path: Path, workspace: str) -> None:
    loaded = load(tmp_path, {"agents": {"list": [{"id": "a", "backend": "echo", "workspace": workspace}]}})

    with pytest.raises(ConfigError, match=r"agents\.list\[0\]\.workspace: "):
        check_settings(loaded, {})


@pytest.mark.parametrize("token", ["a\nb", "secret\n", " secret", "a\tb", "a\x7fb", "a\u202eb"])
@pytest.mark.parametrize("place", ["file", "environment", ".env"])
def test_a_token_that_no_header_can_carry_is_refused(tmp_path: Path, token: str, place: str) -> None:
    (tmp_path / ".env").write_text(f"MOONGATE_TOKEN={json.dumps(token, ensure_ascii=False)}" * (place == ".env"))
    content = {"gateway": {"auth": {"token": token}}} if place == "file" else {}

    with pytest.raises(ConfigError, match=r"gateway\.auth\.token: a token is one line of printable characters"):
        load(tmp_path, content, {"MOONGATE_TOKEN": token} if place == "environment" else {})


def test_variables_in_the_file_come_from_the_environment_and_from_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MY_PORT=2\nMY_TOKEN=of-dotenv\n")
    content = {"gateway": {"port": "${MY_PORT}", "auth": {"token": "x-${MY_TOKEN}"}}, "agents": {"model": "$${M}"}}

    loaded = load(tmp_path, content, {"MY_TOKEN": "of-env"})

    assert (loaded.gateway.port, loaded.gateway.auth.token, loaded.agents.model) == (2, "x-of-env", "${M}")


def test_a_variable_in_the_file_that_is_not_set_is_told_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: gateway\.port: the variable MY_PORT is not set\."):
        load(tmp_path, {"gateway": {"port": "${MY_PORT}"}})


def test_a_variable_that_is_no_number_is_told_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: .*\(sets gateway\.port\)"):
        load(tmp_path, {"gateway": {"port": "${MY_PORT}"}}, {"MY_PORT": "many"})


@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling link"])
def test_a_config_that_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "config.json"
    {"directory": file.mkdir, "pipe": lambda: os.mkfifo(file), "dangling link": lambda: file.symlink_to("gone")}[kind]()

    with pytest.raises(ConfigError, match=r"cannot read .*config\.json: it is a (directory|pipe|link)"):
        load(tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_asking_for_no_token_is_allowed_on_loopback(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, {"gateway": {"host": host, "auth": {"mode": "none"}}})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.example.org"])
def test_asking_for_no_token_is_refused_elsewhere(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="allowed on a loopback address only"):
        load(tmp_path, {"gateway": {"host": host, "auth": {"mode": "none"}}})


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ({"list": [{"id": "a"}]}, "agents.list[0].backend: is missing"),
        ({"list": [{"id": "a", "backend": "opencod"}]}, 'unknown value "opencod"; did you mean "opencode"?'),
        ({"list": [{"backend": "echo"}]}, "agents.list[0].id: is missing"),
        ({"list": [{"id": "a", "backend": "echo", "timeuot": 3}]}, 'timeuot: unknown field; did you mean "timeout"?'),
        ({"list": [{"id": "a", "backend": "echo", "timeout": -1}]}, "agents.list[0].timeout: expected a number > 0"),
        (
            {"list": [{"id": "a", "backend": "echo", "script": 1}]},
            "agents.list[0].script: expected true or false, got a whole number",
        ),
        ({"list": [{"id": "a:b", "backend": "echo"}]}, "agents.list[0].id: must begin with a letter or digit"),
        ({"list": [{"id": "a", "backend": "echo"}] * 2}, 'two agents have the id "a"'),
        ({"default": "b", "list": [{"id": "a", "backend": "echo"}]}, 'there is no agent "b"'),
        (
            {"default": "a", "list": [{"id": "a", "backend": "echo", "enabled": False}]},
            'the agent "a" is disabled',
        ),
        ({"list": [{"id": "a", "backend": "echo", "env": {"LD_PRELOAD": "x"}}]}, "'LD_PRELOAD' cannot be passed"),
    ],
)
def test_a_wrong_agent_is_told_in_one_line_that_names_it(tmp_path: Path, agents: Any, said: str) -> None:
    loaded = load(tmp_path, {"agents": agents})

    with pytest.raises(ConfigError) as caught:
        check_settings(loaded, {})

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_with_nothing_configured_and_nothing_found_the_echo_agent_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.backends.openai._ollama", lambda *_: None, raising=False)

    (agent,) = check_settings(load(tmp_path), {"PATH": str(tmp_path)})

    assert (agent.id, agent.backend) == ("main", "echo")


def test_agents_without_a_model_take_the_common_one(tmp_path: Path) -> None:
    agents = {"model": "m", "list": [{"id": "a", "backend": "echo"}, {"id": "b", "backend": "echo", "model": "n"}]}

    assert [agent.model for agent in check_settings(load(tmp_path, {"agents": agents}), {})] == ["m", "n"]


# --- webhooks out -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("webhooks", "why"),
    [
        ({"secret": "whsec_%"}, "webhooks.secret: a Standard Webhooks secret is whsec_ followed by base64."),
        ({"secret": "whsec_"}, "webhooks.secret: a Standard Webhooks secret needs a key after whsec_."),
        ({"secret": ["whsec_MDEyMw==", "?"]}, "webhooks.secret: a Standard Webhooks secret"),
        ({"secrets": {"https://a.example": "?"}}, 'webhooks.secrets: "https://a.example": a Standard Webhooks secret'),
        ({"secrets": {"a.example": "whsec_MDEyMw=="}}, 'webhooks.secrets: "a.example" is not the beginning of a URL'),
        ({"secrets": {"https://a.example/b": "whsec_MDEyMw=="}}, "is not the beginning of a URL"),
        ({"secrets": {"https://me:pa55@a.example": "whsec_MDEyMw=="}}, 'webhooks.secrets: "https://me:***@a.example"'),
        ({"secrets": {"https://a.example/?token=k3y": "whsec_MDEyMw=="}}, '"https://a.example/?token=***" is not'),
        (
            {"allow_private": ["10.0.0.1/8"]},
            'webhooks.allow_private: "10.0.0.1/8" is neither a host name nor a network',
        ),
        ({"schedule": []}, "webhooks.schedule"),
    ],
)
def test_webhooks_that_cannot_be_sent_so_are_refused_by_name(tmp_path: Path, webhooks: Any, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(load(tmp_path, {"webhooks": webhooks}), {})

    assert why in str(caught.value)


def test_secrets_of_webhooks_are_kept_out_of_the_logs(tmp_path: Path) -> None:
    given = {"secret": ["whsec_MDEyMw==", "whsec_NDU2Nw=="], "secrets": {"https://a.example": "whsec_ODkxMA=="}}

    hidden = collect_secrets(load(tmp_path, {"webhooks": given}), [], {})

    assert {"whsec_MDEyMw==", "whsec_NDU2Nw==", "whsec_ODkxMA=="} <= set(hidden)


def test_addresses_of_alert_receivers_are_kept_out_of_the_logs(tmp_path: Path) -> None:
    receivers = {
        "chat": {"webhook": "https://hooks.example/services/T0/k3y"},
        "asked": {"webhook": "https://a.example/?key=k3y-of-a"},
        "named": {"webhook": "https://me:pa55word@b.example/"},
        "sent": {"command": ["curl", "https://c.example/topic-of-c"]},
        "plain": {"webhook": "https://d.example/"},
    }

    hidden = set(collect_secrets(load(tmp_path, {"alerts": {"receivers": receivers}}), [], {}))

    assert {"/services/T0/k3y", "/?key=k3y-of-a", "me:pa55word", "/topic-of-c"} <= hidden
    assert {"https://hooks.example/services/T0/k3y", "https://me:pa55word@b.example/"} <= hidden
    assert not [secret for secret in hidden if "d.example" in secret]
