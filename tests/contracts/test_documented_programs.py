"""The entries for other programs in `docs/agents.md` work as they stand there: the real programs, a scripted model."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from gateway.agent_setup.entries import parse_entry
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.event import Tool, ToolEnd
from gateway.domain.ports.backend import FileKind, TakesFiles
from gateway.errors import AgentError
from harness.pictures import make_png
from harness.received_files import find_files
from harness.scripted_anthropic import serve_anthropic
from harness.scripted_model import serve_model
from tests.contracts.backends import Stage, on_stage
from tests.contracts.real_agents import RealAgent
from tests.support import claude, clients, codex, installed, markdown, qwen
from tests.support.attachments import attach_all, make_pdf
from tests.support.thorough import choose_cases
from tests.support.turns import listen

PDF = make_pdf()
PNG = make_png()

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"


class Program(NamedTuple):
    """A program of the page."""

    serve: Callable[[], AbstractAsyncContextManager[Any]]
    #: starts the program in place of its name
    start: Callable[[], list[str]]
    #: makes its home directory, and returns its environment
    environment: Callable[[Path, str], dict[str, str]]
    #: a prompt that has it run a command of the shell; None if it has no tools
    shell: Callable[[str], str] | None
    remembers: bool = True
    counts: bool = True


def _llm_environment(home: Path, url: str) -> dict[str, str]:
    home.mkdir(parents=True)
    model = {"model_id": "scripted", "model_name": "scripted", "api_base": url}
    (home / "extra-openai-models.yaml").write_text(json.dumps([model]))
    return {"HOME": str(home), "LLM_USER_PATH": str(home), "OPENAI_API_KEY": "sk-scripted"}


def _run_llm() -> list[str]:
    """Start `llm` from the directory of its package, which is not installed into the environment of the tests."""
    folder = clients.python_packages("llm")
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from llm.cli import cli; cli()"
    return [sys.executable, "-I", "-c", code]


def _tool(name: str, **fixed: Any) -> Callable[[str], str]:
    return lambda command: f"[[tool {name} {json.dumps({'command': command, **fixed})}]]"


PROGRAMS = {
    "claude-p": Program(
        serve_anthropic,
        lambda: [installed.program("claude")],
        claude.environment,
        _tool("Bash", description="x"),
    ),
    "codex-exec": Program(
        serve_model,
        lambda: [installed.program("codex")],
        lambda home, url: codex.environment(home, url, "codex-acp"),
        lambda command: f"[[tool exec_command {json.dumps({'cmd': command})}]]",
        counts=False,
    ),
    "qwen-p": Program(
        serve_model,
        lambda: [installed.program("qwen")],
        qwen.environment,
        _tool("run_shell_command", description="x", is_background=False),
    ),
    "llm": Program(serve_model, _run_llm, _llm_environment, None, remembers=False, counts=False),
}


class Documented(RealAgent):
    """An entry of the page, for a program that is somewhere else."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.about = PROGRAMS[name]
        self.serve = self.about.serve  # type: ignore[method-assign, assignment]
        [self._entry] = [entry for entry in read_entries() if entry["id"] == name]

    def made(self, url: str, directory: Path) -> Agent:
        [_, *arguments] = self._entry["command"]
        changed = {
            "command": [*self.about.start(), *arguments],
            "env": self.about.environment(directory / "home", url),
            "model": "scripted" if self._entry["id"] == "llm" else None,
        }
        return parse_entry("agents", self._entry | changed)


def read_entries() -> list[dict[str, Any]]:
    """Return the single entries of `agents.list` on the page."""
    blocks = [json.loads(code) for code in markdown.code_blocks(PAGE.read_text(), "json")]
    return [block for block in blocks if "id" in block]


#: a push leaves out the one whose answers are read as those of claude
USED = choose_cases(
    [
        pytest.param("claude-p", marks=pytest.mark.agents("claude")),
        pytest.param("codex-exec", marks=pytest.mark.agents("codex")),
        pytest.param("llm", marks=pytest.mark.clients),
        pytest.param("qwen-p", marks=pytest.mark.agents("qwen")),
    ],
    on_each_push=(0, 1, 2),
)


@pytest.fixture(params=USED)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with on_stage(Documented(request.param), tmp_path) as opened:
        yield opened


def about(stage: Stage) -> Program:
    assert isinstance(stage.subject, Documented)
    return stage.subject.about


async def test_a_program_of_the_page_answers_remembers_and_fails(stage: Stage) -> None:
    first = await stage.ask(stage.subject.say("one two"), "chat")
    second = await stage.ask(stage.subject.say("three"), "chat")
    with pytest.raises(AgentError, match=r"400|scripted"):
        await stage.ask("[[error 400]]", "other")
    recalled = await stage.ask("[[recall]]", "chat")

    assert (first.answer.strip(), second.answer.strip()) == ("one two", "three")
    assert (first.usage.input > 0 and first.usage.output > 0) == about(stage).counts
    assert ("one two" in recalled.answer) == about(stage).remembers


@pytest.mark.parametrize("policy", [PermissionPolicy.DENY, PermissionPolicy.ALLOW])
async def test_a_command_of_the_shell_changes_files_only_if_that_is_allowed(
    stage: Stage, policy: PermissionPolicy
) -> None:
    shell = about(stage).shell
    if shell is None:
        pytest.skip("this program has no tools")
    stage.agent = msgspec.structs.replace(stage.agent, permissions=policy)

    heard = await stage.ask(shell("touch made"), "chat")

    is_allowed = policy is PermissionPolicy.ALLOW
    assert (stage.directory / "chat" / "made").exists() == is_allowed
    if is_allowed:  # codex does not tell of a command that its sandbox has refused
        assert heard.of(Tool)
        assert heard.of(ToolEnd)


async def test_a_program_of_the_page_is_told_of_files_and_codex_gets_pictures(stage: Stage) -> None:
    files = {"a.png": PNG, "b.pdf": PDF}
    for words in ("one", "two"):  # the second turn continues a session
        given = stage.turn(stage.subject.say(words), "chat")
        heard = await listen(stage.backend, stage.desk.attach_to(given, attach_all(files)))
        stage.refs.update({"chat": heard.session_ref} if heard.session_ref else {})
        assert heard.answer.strip() == words

    assert isinstance(stage.subject, Documented)
    body = stage.subject.model.last_prompt["body"]
    assert all(f"/{given.run}/{name} (" in json.dumps(body) for name in files)
    sees_pictures = FileKind.IMAGE in cast("TakesFiles", stage.backend).accepts(stage.agent)
    pictures = [file.content for file in find_files(body)]
    assert pictures == ([PNG, PNG] if sees_pictures else [])
    assert sees_pictures == (stage.agent.id == "codex-exec")


def test_each_entry_of_the_page_can_be_used_as_it_stands() -> None:
    assert {entry["id"] for entry in read_entries()} >= set(PROGRAMS)
    for entry in read_entries():
        parse_entry("agents", entry)
