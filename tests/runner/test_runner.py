"""`OpenCodeRunner` over the real opencode, with a scripted model."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from gateway.runner import ModelSource, ModelSourceType, OpenCodeRunner, RunState, setup
from gateway.runner.driver import Driver
from harness.scripted_model import ScriptedModel, serve_model
from harness.waiting import PATIENCE, until_sync
from tests.support import opencode, opencode2
from tests.support.threads import in_thread

pytestmark = pytest.mark.agents("opencode")


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    with in_thread(serve_model()) as model:
        yield model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> Path:
    return opencode.home(tmp_path_factory.mktemp("opencode"), model.base_url)


@pytest.fixture(scope="module", autouse=True)
def shared_server() -> Iterator[None]:
    """Let the tests share a server, though each has its name in the environment, and end it after the last of them."""
    filter_environment = setup._filter_environment

    def without_test_name(given: Mapping[str, str]) -> dict[str, str]:
        return filter_environment({name: value for name, value in given.items() if name != "PYTEST_CURRENT_TEST"})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "_filter_environment", without_test_name)
        yield
    driver, Driver._here = Driver._here, None
    if driver is not None:
        closing = driver.backend.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(closing, driver._loop).result(PATIENCE)


@pytest.fixture
def runner(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenCodeRunner:
    """A runner in an environment in which opencode has the scripted model, and nothing else."""
    for name, value in opencode.shell(home).items():
        monkeypatch.setenv(name, value)
    return OpenCodeRunner("my task", workspace=tmp_path)


def test_a_turn_is_answered(runner: OpenCodeRunner, tmp_path: Path) -> None:
    assert runner.get_state() is RunState.IDLE

    result = runner.run("Hello")

    assert (result["output"], result["state"], result["error"]) == ("echo: Hello", "completed", None)
    assert result["session_id"] == runner.get_session_id()
    assert Path(result["task_dir"]).parent == tmp_path
    assert Path(result["task_dir"]).name.startswith("task_my_task_")
    assert [event["kind"] for event in result["json_events"] if event["kind"] == "text"]


def test_two_turns_remember_and_are_written_down(runner: OpenCodeRunner) -> None:
    first = runner.run("one")
    second = runner.run("[[recall]]")

    assert "one" in second["output"]
    assert first["session_id"] == second["session_id"]
    assert [line["role"] for line in runner.get_conversation_history()] == ["user", "assistant"] * 2
    saved = Path(runner.save_markdown())
    assert saved == runner.task_dir / "conversation.md"
    assert saved.read_text() == runner.get_conversation_markdown()
    assert "echo: one" in saved.read_text()


def test_who_reads_the_conversation_while_a_turn_ends_sees_no_half_of_it(runner: OpenCodeRunner) -> None:
    runner.run("one")
    saved = runner.task_dir / "conversation.md"
    before = saved.read_text()

    with saved.open() as reader:
        runner.run("two")

        assert reader.read() == before
    assert "echo: two" in saved.read_text()
    assert [path.name for path in runner.task_dir.glob("conversation*")] == ["conversation.md"]


def test_a_turn_can_be_watched_while_it_runs(runner: OpenCodeRunner) -> None:
    result = runner.run("[[slow 10000 50]]", wait=False)
    assert result["state"] == "running"
    until_sync(lambda: runner.get_current_output(), "it has begun to speak")
    seen = runner.get_current_output()

    assert runner.is_running()
    with pytest.raises(RuntimeError, match="under way"):
        runner.run("more")
    with pytest.raises(TimeoutError):
        runner.wait(timeout=0.01)
    runner.interrupt()
    final = runner.wait()
    assert final["output"].startswith(seen)
    assert runner.get_current_output() == final["output"]


def test_an_interrupt_is_prompt_and_final(runner: OpenCodeRunner) -> None:
    runner.run("[[slow 10000 50]]", wait=False)
    until_sync(lambda: runner.get_current_output(), "it has begun to speak")

    assert runner.interrupt()
    assert runner.wait()["state"] == "interrupted"
    assert not runner.interrupt()
    assert runner.run("on")["output"] == "echo: on"


def test_a_kill_does_not_wait(runner: OpenCodeRunner) -> None:
    runner.run("[[slow 10000 50]]", wait=False)
    until_sync(lambda: runner.get_current_output(), "it has begun to speak")

    assert runner.kill()
    assert runner.get_state() is RunState.INTERRUPTED
    assert not runner.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no polite signal")
def test_a_program_that_is_asked_to_end_takes_opencode_with_it(
    home: Path, model: ScriptedModel, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "gateway.runner", "[[slow 400 50]]"]
    with subprocess.Popen(command, cwd=tmp_path, env=opencode.shell(home), stderr=subprocess.DEVNULL) as program:
        until_sync(lambda: any("[[slow 400" in str(each["body"]) for each in model.requests), "the model is asked")
        started = psutil.Process(program.pid).children(recursive=True)
        program.terminate()

        assert program.wait(PATIENCE) == 143
    assert started
    assert not psutil.wait_procs(started, PATIENCE)[1]
    assert "[[slow" in next(tmp_path.glob("task_*/conversation.md")).read_text()


def test_an_error_of_the_model_is_reported(runner: OpenCodeRunner) -> None:
    result = runner.run("[[error 401]]")

    assert (result["state"], runner.get_state()) == ("error", RunState.ERROR)
    assert "401" in (result["error"] or "")


def test_a_model_source_reaches_the_server(runner: OpenCodeRunner, model: ScriptedModel, tmp_path: Path) -> None:
    source = ModelSource()
    source.set_model(ModelSourceType.CODE, model.base_url, "sk-code", "scripted-b", temperature=0.3, max_tokens=777)
    source.set_model(ModelSourceType.WRITE, model.base_url, "sk-write", "scripted", temperature=0.8)
    purposeful = OpenCodeRunner("sources", context="Be brief.", workspace=tmp_path, model_source=source)
    model.requests.clear()

    for purpose in (ModelSourceType.CODE, ModelSourceType.WRITE):
        assert purposeful.run("Hello", model_source_type=purpose)["error"] is None

    code, write = (
        next(each for each in model.requests if each["headers"]["Authorization"] == f"Bearer {key}")
        for key in ("sk-code", "sk-write")
    )
    assert (code["body"]["model"], code["body"]["temperature"], code["body"]["max_tokens"]) == ("scripted-b", 0.3, 777)
    assert (write["body"]["model"], write["body"]["temperature"]) == ("scripted", 0.8)
    assert any("Be brief." in str(message["content"]) for message in code["body"]["messages"])


def test_an_empty_message_is_refused(runner: OpenCodeRunner) -> None:
    with pytest.raises(ValueError, match="empty"):
        runner.run("  ")
    with pytest.raises(RuntimeError, match="call run first"):
        runner.wait()


def test_half_a_character_is_refused(runner: OpenCodeRunner) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        runner.run("\udcff")


def test_a_turn_that_cannot_start_leaves_no_trace(runner: OpenCodeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread() -> Driver:
        raise OSError("no room for a thread")

    monkeypatch.setattr(Driver, "get_driver", no_thread)
    with pytest.raises(OSError, match="no room"):
        runner.run("Hello")

    assert runner.get_state() is RunState.IDLE
    assert runner.get_conversation_history() == []


def test_without_opencode_it_says_what_to_do(runner: OpenCodeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)

    assert "opencode" in (runner.run("Hello")["error"] or "")


#: prints how many tasks wait in the driver's loop when the driver has closed
_WAITING_AT_THE_END = """
import asyncio, atexit
from gateway.runner.driver import Driver

atexit.register(lambda: print(len(asyncio.all_tasks(driver._loop))))
driver = Driver.get_driver()
driver.start_task(asyncio.sleep(1000))
"""


def test_a_program_that_ends_leaves_no_waiting_task(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WAITING_AT_THE_END]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)

    assert (ended.stdout, ended.stderr) == ("0\n", "")


def test_a_program_whose_server_is_of_version_2_is_driven_as_well(
    runner: OpenCodeRunner, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opencode2.install(tmp_path / "bin")
    for name, value in opencode2.variables(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    first = runner.run("one")
    second = runner.run("[[recall]]")

    assert (first["output"], first["error"]) == ("echo: one", None)
    assert "one" in second["output"]
    assert str(first["session_id"]).startswith("ses_")
    assert str(tmp_path) not in str(first["session_id"])
    assert first["session_id"] == second["session_id"]
    assert opencode2.served(home), "its server was asked what it is"
