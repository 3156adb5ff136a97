"""Which agent is used when none is configured: named, found before, found now, or the echo agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import config, paths
from gateway.assembly.checks import check_settings
from gateway.backends.openai import detection as openai_detection
from gateway.domain.agent import Agent
from gateway.errors import ConfigError


@pytest.fixture(autouse=True)
def no_ollama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_detection, "_find_ollama_model", lambda: None)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory for PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    return directory


def install(directory: Path, name: str) -> None:
    (directory / name).write_text("#!/bin/sh\n")
    (directory / name).chmod(0o755)


def choose(tmp_path: Path, programs: Path, *, remember: bool = False, **environ: str) -> Agent:
    """Choose as a start does with this PATH and these variables."""
    loaded = config.load({"MOONGATE_HOME": str(tmp_path / "home"), **environ})
    (agent,) = check_settings(loaded, {"PATH": str(programs), **environ}, remember=remember)
    return agent


def write_memory(tmp_path: Path, content: bytes) -> None:
    file = paths.found_agent_file(tmp_path / "home")
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)


def test_a_server_that_openai_variables_name_comes_before_programs_on_path(tmp_path: Path, programs: Path) -> None:
    install(programs, "opencode")
    install(programs, "claude-agent-acp")

    assert choose(tmp_path, programs, OPENAI_API_KEY="k").backend == "openai"
    assert choose(tmp_path, programs, OPENAI_BASE_URL="http://127.0.0.1:1/v1").backend == "openai"
    assert choose(tmp_path, programs).backend == "opencode"


def test_a_server_that_a_setting_names_comes_before_everything(tmp_path: Path, programs: Path) -> None:
    install(programs, "claude-agent-acp")
    assert choose(tmp_path, programs, remember=True).backend == "acp"

    named = choose(tmp_path, programs, OPENAI_API_KEY="k", XCCLAW_OPENCODE_HOST="box")

    assert (named.backend, named.options.url) == ("opencode", "http://box:4096")
    assert choose(tmp_path, programs).backend == "acp"


def test_what_the_first_start_found_stays_in_force_when_it_is_gone(tmp_path: Path, programs: Path) -> None:
    install(programs, "opencode")
    first = choose(tmp_path, programs, remember=True)
    (programs / "opencode").unlink()

    assert choose(tmp_path, programs, remember=True) == first


@pytest.mark.parametrize("other", ["opencode", "codex-acp"])
def test_what_the_first_start_found_stays_in_force_when_something_else_appears(
    tmp_path: Path, programs: Path, other: str
) -> None:
    install(programs, "gemini")
    first = choose(tmp_path, programs, remember=True)
    install(programs, other)

    assert choose(tmp_path, programs, remember=True, OPENAI_API_KEY="k") == first
    assert (first.backend, first.options.preset) == ("acp", "gemini")


def test_a_remembered_server_is_used_without_its_variables(tmp_path: Path, programs: Path) -> None:
    environ = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "m"}
    first = choose(tmp_path, programs, remember=True, **environ)

    assert choose(tmp_path, programs) == first
    assert (first.model, first.options.base_url) == ("m", "http://127.0.0.1:1/v1")


def test_a_remembered_server_follows_its_variables(tmp_path: Path, programs: Path) -> None:
    choose(tmp_path, programs, remember=True, OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    choose(tmp_path, programs, remember=True, OPENAI_BASE_URL="http://127.0.0.1:2/v1")

    assert choose(tmp_path, programs).options.base_url == "http://127.0.0.1:2/v1"


def test_a_check_of_the_config_remembers_nothing(tmp_path: Path, programs: Path) -> None:
    install(programs, "opencode")
    choose(tmp_path, programs)

    assert not paths.found_agent_file(tmp_path / "home").exists()


def test_a_configured_agent_is_not_remembered(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.json").write_text(json.dumps({"agents": {"list": [{"id": "a", "backend": "echo"}]}}))
    choose(tmp_path, programs, remember=True)

    assert not paths.found_agent_file(tmp_path / "home").exists()


def test_where_nothing_was_ever_found_the_echo_agent_marks_its_answers(tmp_path: Path, programs: Path) -> None:
    agent = choose(tmp_path, programs, remember=True)
    install(programs, "opencode")

    assert (agent.id, agent.backend, agent.options.mark) == ("main", "echo", True)
    assert choose(tmp_path, programs, remember=True).backend == "opencode"


def test_the_settings_of_all_agents_are_not_remembered_with_one(tmp_path: Path, programs: Path) -> None:
    install(programs, "opencode")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.json").write_text('{"agents": {"model": "p/m"}}')
    assert choose(tmp_path, programs, remember=True).model == "p/m"

    written = json.loads(paths.found_agent_file(tmp_path / "home").read_bytes())

    assert written == {"agent": {"id": "main", "backend": "opencode"}}


def test_a_memory_that_cannot_be_written_does_not_prevent_the_start(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    install(programs, "opencode")
    monkeypatch.setattr("gateway.private_file.replace_private_file", refuse)

    assert choose(tmp_path, programs, remember=True).backend == "opencode"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"agent": 1}',
        b'{"agent": {"id": "main"}}',
        b'{"agent": {"id": "main", "backend": "gone"}}',
        b'{"agent": {"id": "main", "backend": "opencode", "unknown": 1}}',
    ],
)
def test_a_memory_that_cannot_be_read_is_told_with_the_command_that_repairs_it(
    tmp_path: Path, programs: Path, content: bytes
) -> None:
    write_memory(tmp_path, content)

    with pytest.raises(ConfigError, match=r"found-agent\.json") as caught:
        choose(tmp_path, programs)

    assert caught.value.remedy is not None
    assert "gateway agents detect" in caught.value.remedy


def test_a_memory_that_is_a_directory_is_told(tmp_path: Path, programs: Path) -> None:
    paths.found_agent_file(tmp_path / "home").mkdir(parents=True)

    with pytest.raises(ConfigError, match=r"found-agent\.json: it is a directory"):
        choose(tmp_path, programs)
