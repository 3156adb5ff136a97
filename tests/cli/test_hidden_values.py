"""What commands show of settings: no secret, and all else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.config_edit.keys import find_key
from cli.config_edit.values import find_bare_secret, hide_secrets, hide_value, is_secret
from gateway.backup import config_secrets
from gateway.config import Config, list_settings
from gateway.config_files.json_file import get_nested
from gateway.security.secret_names import is_secret_name

RECEIVER = {"webhook": "https://me:pw-of-me@hooks.example/services/T0/SECRETPATH?key=SECRETQ", "kinds": None}


def test_a_receiver_of_alerts_is_shown_by_its_host_only() -> None:
    key = find_key("alerts.receivers", {})
    for shown in (hide_secrets("alerts.receivers", {"ops": RECEIVER}), hide_value(key, {"ops": RECEIVER})):
        assert shown == {"ops": {"webhook": "https://me:***@hooks.example/***", "kinds": None}}
    assert find_bare_secret(find_key("alerts.receivers.ops.webhook", {}), RECEIVER["webhook"] or "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "https://me:SECRETQ@host/path"),
        ("url", "https://host/path?access_token=SECRETQ&a=1"),
        ("url", "https://host/path?key=SECRETQ"),
        ("SMTP_PASS", "SECRETQ1"),
        ("headers", {"X-Any": "SECRETQ1"}),
        ("bash", {"curl https://me:SECRETQ@host/": "allow", "curl https://host/?token=SECRETQ": "deny", "ls": "allow"}),
    ],
)
def test_what_a_backup_takes_out_is_not_shown(name: str, value: Any) -> None:
    content = msgspec.json.encode({name: value})
    left, _ = config_secrets.replace_secrets(content, [], {name: value})

    assert b"SECRETQ" not in left
    assert len(msgspec.json.decode(left)[name]) == len(value) or isinstance(value, str)
    assert "SECRETQ" not in str(hide_secrets(name, value))


def test_every_setting_with_its_default_is_shown_as_it_is_unless_its_name_is_secret(tmp_path: Path) -> None:
    values = msgspec.to_builtins(Config(home=tmp_path, path=tmp_path / "config.json"), enc_hook=str)
    for setting in list_settings():
        value = get_nested(values, setting.name)
        own = setting.name.rpartition(".")[2]
        assert hide_secrets(setting.name, value) == value, setting.name
        key = find_key(setting.name, {})
        assert is_secret(key) == (own == "headers" or (is_secret_name(own) and key.type is not bool)), setting.name
        if is_secret(key) and key.type is not bool and own != "headers":
            assert "SECRETQ" not in str(hide_secrets(setting.name, "SECRETQ"))
