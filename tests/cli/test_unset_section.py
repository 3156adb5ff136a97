"""`gateway config unset` removes one setting or one entry with a word, and a section only if that is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.config_edit import settings
from gateway.errors import InvalidRequest

CONTENT = {
    "gateway": {"auth": {"token": "a" * 24}, "trusted_proxies": ["10.0.0.1"]},
    "agents": {"list": [{"id": "main", "backend": "echo"}, {"id": "other", "backend": "echo"}]},
}


@pytest.mark.parametrize(
    ("name", "part"),
    [("gateway", "gateway.trusted_proxies"), ("gateway.auth", "gateway.auth.token"), ("agents.list", "main")],
)
def test_a_section_goes_only_if_that_is_said(name: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONTENT))
    env = {"MOONGATE_HOME": str(tmp_path), "PATH": ""}

    with pytest.raises(InvalidRequest, match=part) as refused:
        settings.unset_setting(env, name)

    assert f"{name} --all" in str(refused.value.remedy)
    assert json.loads((tmp_path / "config.json").read_text()) == CONTENT
    assert settings.unset_setting(env, name, is_section=True).change.has_changed


@pytest.mark.parametrize("content", [None, "", " \n", "{}", '{"log": {"level": "debug"}}'])
@pytest.mark.parametrize("name", ["gateway", "gateway.port", "channels.telegram"])
def test_what_the_file_does_not_have_is_not_removed(name: str, content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)

    done = settings.unset_setting({"MOONGATE_HOME": str(tmp_path), "PATH": ""}, name)

    assert (done.change.has_changed, done.change.copy) == (False, None)
    assert (file.read_text() if file.exists() else None) == content


@pytest.mark.parametrize("name", ["gateway.trusted_proxies", "gateway.auth.token", "agents.list.other"])
def test_one_setting_and_one_entry_go_with_a_word(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONTENT))

    assert settings.unset_setting({"MOONGATE_HOME": str(tmp_path), "PATH": ""}, name).change.has_changed
