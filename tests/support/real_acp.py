"""The real agents that speak ACP, each with a scripted model: how tests start them and let them use tools."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.agent_setup.entries import parse_entry
from gateway.backends import BackendResources
from gateway.backends.acp.backend import AcpBackend
from gateway.domain.agent import Agent
from gateway.errors import AgentError
from gateway.process.child import Children
from harness.scripted_anthropic import serve_anthropic
from harness.scripted_gemini import serve_gemini
from harness.scripted_model import serve_model
from harness.scripted_server import ScriptedServer
from tests.support import claude, codex, gemini, opencode, qwen
from tests.support.ledger import MemoryLedger
from tests.support.turns import Heard, listen, turn

_PATCH = "apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: {name}\n+x\n*** End Patch\nEOF"


class Real(NamedTuple):
    """A real agent, with a scripted model."""

    program: str
    serve: Callable[[], AbstractAsyncContextManager[ScriptedServer]]
    #: returns its entry of `agents.list`, for the URL of the model and a home directory
    entry: Callable[[str, Path], dict[str, Any]]
    #: returns a call of the tool that runs a command which makes a file, and of the one that writes a file
    run: Callable[[Path], tuple[str, dict[str, Any]]]
    write: Callable[[Path], tuple[str, dict[str, Any]]]
    #: a file of its own settings, below the home directory, that makes it ask nobody; and what it says there
    settings: tuple[str, str] | None = None
    #: returns a call that the agent runs without asking, in a sandbox that cannot write
    run_in_sandbox: Callable[[Path], tuple[str, dict[str, Any]]] | None = None


def _shell(name: str, key: str, **more: Any) -> Callable[[Path], tuple[str, dict[str, Any]]]:
    return lambda file: (name, {key: f"echo x > {file}", **more})


def _file(name: str, key: str) -> Callable[[Path], tuple[str, dict[str, Any]]]:
    return lambda file: (name, {key: str(file), "content": "x"})


def _codex(name: str) -> Real:
    return Real(
        name,
        serve_model,
        lambda url, home: codex.agent(url, home, name),
        _shell("exec_command", "cmd", sandbox_permissions="require_escalated", justification="May I?"),
        lambda file: ("exec_command", {"cmd": _PATCH.format(name=file.name)}),
        run_in_sandbox=_shell("exec_command", "cmd"),
    )


REAL = {
    "claude": Real(
        "claude-agent-acp",
        serve_anthropic,
        claude.agent,
        _shell("Bash", "command", description="x"),
        _file("Write", "file_path"),
        (".claude/settings.json", '{"permissions": {"defaultMode": "acceptEdits"}}'),
    ),
    "codex": _codex("codex-acp"),
    "codex-zed": _codex("codex-acp-zed"),
    "gemini": Real(
        "gemini",
        serve_gemini,
        gemini.agent,
        _shell("run_shell_command", "command", description="x"),
        _file("write_file", "file_path"),
        (".gemini/settings.json", '{"general": {"defaultApprovalMode": "auto_edit"}}'),
    ),
    "qwen": Real(
        "qwen",
        serve_model,
        qwen.agent,
        _shell("run_shell_command", "command", description="x", is_background=False),
        _file("write_file", "file_path"),
        (".qwen/settings.json", '{"tools": {"approvalMode": "yolo"}}'),
    ),
    "opencode": Real(
        "opencode",
        serve_model,
        opencode.agent_over_acp,
        _shell("bash", "command", description="x"),
        _file("write", "filePath"),
    ),
}
EACH = [pytest.param(real, id=name, marks=pytest.mark.agents(real.program)) for name, real in REAL.items()]


class Stage:
    """A real agent in a workspace."""

    def __init__(self, backend: AcpBackend, agent: Agent, workspace: Path, model: ScriptedServer) -> None:
        self.backend = backend
        self.agent = agent
        self.workspace = workspace
        self.model = model

    async def ask(self, prompt: str, heard: Heard | None = None, **about: Any) -> Heard:
        return await listen(self.backend, turn(self.agent, prompt, workspace=self.workspace, **about), heard)

    async def call(self, tool: tuple[str, dict[str, Any]]) -> Heard:
        """Let the model call a tool; a denial may end the turn with an error."""
        heard = Heard()
        with contextlib.suppress(AgentError):
            await self.ask(f"[[tool {tool[0]} {json.dumps(tool[1])}]]", heard)
        return heard


@asynccontextmanager
async def staged(real: Real, directory: Path, **changes: Any) -> AsyncIterator[Stage]:
    """Open a backend with the agent, as a gateway does; nothing may outlive it.

    The agent knows its earlier sessions if the directory is that of an earlier stage.
    """
    environ = {"PATH": os.environ["PATH"]}
    ledger = MemoryLedger()
    workspace = directory / "work"
    workspace.mkdir(exist_ok=True)
    async with real.serve() as model:
        agent = parse_entry("agents", real.entry(model.base_url, directory / "home") | changes)
        if real.settings is not None:
            file = directory / "home" / real.settings[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            own = json.loads(file.read_text()) if file.exists() else {}
            file.write_text(json.dumps(own | json.loads(real.settings[1])))
        resources = BackendResources(children=Children(ledger, environ), environ=environ, directory=directory / "own")
        async with AcpBackend(resources) as backend:
            yield Stage(backend, agent, workspace, model)
    assert not ledger.alive(), "nothing outlives the backend"
