"""Secrets are taken out of a config, and the rest of it stays as it was written."""

from __future__ import annotations

import json

import pytest

from gateway.backup import config_secrets
from gateway.config_files import json_file, variables


def replace(written: str, *secrets: str) -> tuple[str, list[str]]:
    content, names = config_secrets.replace_secrets(
        written.encode(), secrets, json_file.decode_config(written.encode(), "")
    )
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


def test_a_secret_is_found_however_it_is_spelled_and_names_of_entries_stay() -> None:
    written = r'{"a": "\u0073ecret-\/-1", "secret-/-1": {"note": "say secret-\u002f-1 twice"}} // secret-/-1'

    said, names = replace(written, "secret-/-1")

    assert names == ["RESTORED_A"]
    assert json_file.decode_config(said.encode(), "") == {
        "a": "${RESTORED_A}",
        "secret-/-1": {"note": "say ${RESTORED_A} twice"},
    }
    assert said.endswith("// ${RESTORED_A}")


@pytest.mark.parametrize(
    ("entry", "secret"),
    [
        ('"privateKey": "abcdefgh"', "abcdefgh"),
        ('"SMTP_PASS": "abcdefgh"', "abcdefgh"),
        ('"GITHUB_PAT": "abcdefgh"', "abcdefgh"),
        ('"headers": {"X-Anything": "abcdefgh"}', "abcdefgh"),
        ('"url": "https://me:abcd-efgh@host/path"', "abcd-efgh"),
        ('"url": "https://host/path?a=1&access_token=abcdefgh#x"', "abcdefgh"),
        ('"smtpPass": "abcdefgh"', "abcdefgh"),
        ('"SMTP_USERPASS": "abcdefgh"', "abcdefgh"),
        ('"args": ["https://ghp_aBcDeFgHiJkLmNoPqRsT@github.com/a/b"]', "ghp_aBcDeFgHiJkLmNoPqRsT"),
        ('"url": "https://ghp_aBcDeFgHiJkLmNoPqRsT:@github.com/a"', "ghp_aBcDeFgHiJkLmNoPqRsT"),
        ('"report": "https://0123456789abcdef0123456789abcdef@o1.ingest.sentry.io/4"', "0123456789abcdef"),
        ('"url": "https://host/path?a=1&key=abcdefgh"', "abcdefgh"),
        ('"args": ["https://api.telegram.org/bot123:AAbcdefgh/sendMessage"]', "AAbcdefgh"),
        ('"args": ["--server", "https://me:abcd-efgh@${HOST}/"]', "abcd-efgh"),
        ('"webhook": "https://hooks.slack.com/services/T000/B000/aBcDeFgHiJkLmNoPqRsT"', "aBcDeFgHiJkLmNoPqRsT"),
    ],
)
def test_what_gives_access_is_taken_out_under_any_name(entry: str, secret: str) -> None:
    said, names = replace(f"{{{entry}}}")

    assert (secret in said, len(names)) == (False, 1)
    assert f"${{{names[0]}}}" in said


@pytest.mark.parametrize(
    "entry",
    [
        '"publicKey": "abcdefgh"',
        '"tls": {"key": "/etc/ssl/key.pem"}',
        '"webhook": "http://127.0.0.1:9000/alerts"',
        '"url": "https://host/path?session=abcdefgh"',
        '"monkey": "abcdefgh"',
        '"compass": "abcdefgh"',
        '"url": "ssh://deploy@host/bot/x"',
    ],
)
def test_what_is_no_secret_stays(entry: str) -> None:
    assert replace(f"{{{entry}}}") == (f"{{{entry}}}", [])
