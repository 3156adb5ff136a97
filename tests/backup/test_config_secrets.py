"""Secrets are taken out of a config, and the rest of it stays as it was written."""

from __future__ import annotations

import json

from gateway.backup import config_secrets
from gateway.config_files import variables


def replace(written: str, *secrets: str) -> tuple[str, list[str]]:
    content, names = config_secrets.replace_secrets(written.encode(), secrets, json.loads(written))
    return content.decode(), names


def test_secrets_become_variables_that_bring_the_same_config_back() -> None:
    written = '{\n  "channels": {"telegram": {"token": "123:abc",  "chat": "5"}}, "note": "é"}'

    said, names = replace(written, "123:abc")

    assert said == written.replace("123:abc", "${RESTORED_CHANNELS_TELEGRAM_TOKEN}")
    assert names == ["RESTORED_CHANNELS_TELEGRAM_TOKEN"]
    back = variables.substitute_variables(json.loads(said), {names[0]: "123:abc"}, "config")
    assert back == json.loads(written)


def test_entries_that_are_called_secret_are_taken_out_though_nobody_knows_them() -> None:
    said, names = replace('{"agents": {"list": [{"env": {"OPENAI_API_KEY": "sk-1234"}, "password": "häß\\u006cich"}]}}')

    assert names == ["RESTORED_AGENTS_LIST_0_ENV_OPENAI_API_KEY", "RESTORED_AGENTS_LIST_0_PASSWORD"]
    assert "sk-1234" not in said


def test_a_password_within_a_url_is_taken_out() -> None:
    said, names = replace('{"store": {"url": "postgresql://me:pass-word-1@host/db"}}', "pass-word-1")

    assert json.loads(said) == {"store": {"url": "postgresql://me:${RESTORED_STORE_URL}@host/db"}}
    assert names == ["RESTORED_STORE_URL"]


def test_references_paths_and_short_words_stay() -> None:
    written = '{"token": "${TOKEN}", "password_file": "/run/secret", "secret": "on", "max_tokens": 5}'

    assert replace(written, "on") == (written, [])


def test_two_secrets_of_one_entry_have_two_names() -> None:
    said, names = replace('{"secret": ["first-one", "second-one"]}', "first-one", "second-one")

    assert json.loads(said) == {"secret": ["${RESTORED_SECRET_0}", "${RESTORED_SECRET_1}"]}
    assert names == ["RESTORED_SECRET_0", "RESTORED_SECRET_1"]
