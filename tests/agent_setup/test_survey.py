"""What is found on a machine: programs, their versions, credentials, and what keeps them from working."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.agent_setup import survey
from gateway.agent_setup.survey import Sighting
from gateway.backends.openai import detection as openai_detection
from gateway.process import version_probe

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are shell scripts")


@pytest.fixture(autouse=True)
def no_ollama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_detection, "_find_ollama_model", lambda: None)


def install(tmp_path: Path, name: str, script: str, first: str = "#!/bin/sh") -> Path:
    program = tmp_path / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"{first}\n{script}\n")
    program.chmod(0o755)
    return program


async def look(tmp_path: Path, **environ: str) -> dict[str, Sighting]:
    """Look around with these programs, and /bin for their shells."""
    known = {"HOME": str(tmp_path), "MOONGATE_HOME": str(tmp_path / "home"), "PATH": f"{tmp_path}/bin:/bin", **environ}
    seen = await survey.survey_machine(config.load(known), known)
    return {each.candidate.name: each for each in seen}


async def test_a_program_is_found_with_its_version(tmp_path: Path) -> None:
    program = install(tmp_path, "claude-agent-acp", "echo 'claude-agent-acp v0.101.0 (x)'")

    seen = await look(tmp_path)

    assert (seen["claude"].place, seen["claude"].version, seen["claude"].is_usable) == (str(program), "0.101.0", True)
    assert (seen["gemini"].place, seen["gemini"].is_usable) == ("", False)
    assert "npm install" in seen["gemini"].problem


async def test_programs_that_do_not_tell_their_version_hold_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_probe, "VERSION_TIMEOUT_SECONDS", 1.0)
    install(tmp_path, "opencode", "sleep 600")
    install(tmp_path, "gemini", "echo broken >&2; exit 3")

    seen = await look(tmp_path)

    assert (seen["opencode"].version, seen["opencode"].is_usable) == ("", True)
    assert "broken" in seen["gemini"].problem


async def test_a_program_that_does_not_know_the_option_for_its_version_works(tmp_path: Path) -> None:
    install(tmp_path, "codex-acp", """echo "error: unexpected argument '--version' found" >&2; exit 2""")

    seen = await look(tmp_path)

    assert (seen["codex"].version, seen["codex"].is_usable) == ("", True)


@pytest.mark.parametrize(
    ("node", "first", "problem"),
    [
        ("v20.20.2", "#!/usr/bin/env node", "it needs Node.js 22 or newer; the `node` on PATH is v20.20.2."),
        (None, "#!/usr/bin/env node", "it needs Node.js 22 or newer, and there is no `node` on PATH."),
        ("v24.1.0", "#!/usr/bin/env node", ""),
        ("v20.20.2", "#!/bin/sh", ""),
    ],
)
async def test_a_program_for_a_newer_node_says_so(tmp_path: Path, node: str | None, first: str, problem: str) -> None:
    if node is not None:
        install(tmp_path, "node", f"echo {node}")
    install(tmp_path, "claude-agent-acp", "echo 1.0.0", first)
    path = f"{tmp_path}/bin"  # without the node of the machine
    if node is None and (await look(tmp_path, PATH="/bin"))["claude"].place:
        pytest.skip("claude-agent-acp is in /bin")

    seen = (await look(tmp_path, PATH=path))["claude"]

    assert seen.problem == problem or (node == "v24.1.0" and "Node.js" not in seen.problem)


async def test_the_program_of_the_same_maker_is_named(tmp_path: Path) -> None:
    program = install(tmp_path, "claude", "echo 2.1.332")

    seen = await look(tmp_path)

    assert (seen["claude"].place, seen["claude"].companion) == ("", str(program))


@pytest.mark.skipif(sys.platform == "darwin", reason="credentials are in the keychain there")
@pytest.mark.parametrize(
    ("name", "program", "environ", "file", "signed_in"),
    [
        ("claude", "claude-agent-acp", {}, None, False),
        ("claude", "claude-agent-acp", {"ANTHROPIC_API_KEY": "k"}, None, True),
        ("claude", "claude-agent-acp", {}, ".claude/.credentials.json", True),
        ("opencode", "opencode", {}, None, None),
    ],
)
async def test_a_credential_is_looked_for(
    tmp_path: Path, name: str, program: str, environ: dict[str, str], file: str | None, signed_in: bool | None
) -> None:
    install(tmp_path, program, "echo 1.0.0")
    if file is not None:
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("{}")

    assert (await look(tmp_path, **environ))[name].signed_in is signed_in


async def test_a_server_that_a_variable_names_comes_first(tmp_path: Path) -> None:
    install(tmp_path, "opencode", "echo 1.0.0")

    seen = await look(tmp_path, OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    best = survey.choose_best(seen.values())

    assert next(iter(seen)) == "openai"
    assert best is not None
    assert (best.candidate.name, best.place) == ("openai", "http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("scripts", "best"),
    [
        ({"opencode": "echo 1.0.0", "gemini": "echo 1.0.0"}, "opencode"),
        ({"opencode": "exit 1", "gemini": "echo 1.0.0"}, "gemini"),
        ({"opencode": "exit 1"}, "opencode"),
        ({}, None),
    ],
)
async def test_the_best_is_the_first_that_works(tmp_path: Path, scripts: dict[str, str], best: str | None) -> None:
    for name, script in scripts.items():
        install(tmp_path, name, script)

    found: Any = survey.choose_best((await look(tmp_path)).values())

    assert (found and found.candidate.name) == best


async def test_an_agent_in_force_is_recognised(tmp_path: Path) -> None:
    seen = list((await look(tmp_path)).values())

    found = survey.find_sighting(seen, {"id": "main", "backend": "acp", "preset": "codex", "model": "x"})

    assert found is not None
    assert found.candidate.name == "codex"
    assert survey.find_sighting(seen, {"id": "main", "backend": "echo"}) is None
