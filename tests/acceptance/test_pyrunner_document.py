"""Each example in the README of opencode's Python runner, run with the real opencode.

As printed, except for the import line, the model's address and name, and prompts that must take some time.
"""

# ruff: noqa: RUF001 the document is Chinese

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.scripted_model import ScriptedModel, serve_model
from harness.waiting import PATIENCE, until_sync
from tests.support import opencode
from tests.support.threads import in_thread

pytestmark = pytest.mark.agents("opencode")

IMPORT = "from gateway.runner import OpenCodeRunner, ModelSource, ModelSourceType, RunState\nimport time\n"

BASIC = """
runner = OpenCodeRunner(task_name='hello')
result = runner.run('Say hello in Chinese')
print(result['output'])
"""
MODEL = """
runner = OpenCodeRunner(
    task_name='my_task',
    model='opencode/claude-sonnet-4-5'
)

result = runner.run('What is Python?')
print(result['output'])
"""
TURNS = """
runner = OpenCodeRunner(task_name='conversation')
result1 = runner.run('What is 2+2?')
print(result1['output'])  # '4'
result2 = runner.run('Now multiply that by 3')
print(result2['output'])  # '12'
print(runner.get_session_id())
"""
SOURCES = """
model_source = ModelSource()
model_source.set_model(
    ModelSourceType.CODE,
    baseurl="https://api.openai.com",
    apikey="sk-your-api-key",
    model="gpt-4",
    temperature=0.3
)
model_source.set_model(
    ModelSourceType.WRITE,
    baseurl="https://api.openai.com",
    apikey="sk-your-api-key",
    model="gpt-3.5-turbo",
    temperature=0.8
)
runner = OpenCodeRunner(
    task_name='multi_task',
    model_source=model_source
)
result1 = runner.run(
    "Write a Python function to calculate fibonacci",
    model_source_type=ModelSourceType.CODE
)
result2 = runner.run(
    "Write a short poem about coding",
    model_source_type=ModelSourceType.WRITE
)
"""
ENV_FILE = """
MODEL_CODE_BASEURL=https://api.openai.com/v1
MODEL_CODE_APIKEY=sk-your-api-key
MODEL_CODE_MODEL=gpt-4
MODEL_CODE_TEMPERATURE=0.3
MODEL_CODE_MAX_TOKENS=4096

MODEL_WRITE_BASEURL=https://api.openai.com/v1
MODEL_WRITE_APIKEY=sk-your-api-key
MODEL_WRITE_MODEL=gpt-3.5-turbo
MODEL_WRITE_TEMPERATURE=0.8
MODEL_WRITE_MAX_TOKENS=2048
"""
FROM_FILE = """
model_source = ModelSource.from_env_file('.env')
runner = OpenCodeRunner(task_name='env_task', model_source=model_source)
result = runner.run("分析这段代码", model_source_type=ModelSourceType.CODE)
"""
MONITOR = """
runner = OpenCodeRunner(task_name='monitor')
result = runner.run('Write a long story', wait=False)

print(f"State: {result['state']}")  # 'running'
while runner.is_running():
    time.sleep(1)
    state = runner.get_state()
    output = runner.get_current_output()
    print(f"State: {state.value}, Output length: {len(output)}")
final_result = runner.wait()
print(final_result['output'])
"""
INTERRUPT = """
runner = OpenCodeRunner(task_name='interrupt_test')
runner.run('List all files recursively', wait=False)
time.sleep(3)

if runner.interrupt():
    print("已发送中断信号")
else:
    print("任务已完成，无法中断")
print(runner.get_state())  # RunState.INTERRUPTED
"""
KILL = """
runner = OpenCodeRunner(task_name='force_kill')
runner.run('List all files recursively', wait=False)

time.sleep(2)
if not runner.interrupt():
    runner.kill()
print(runner.get_state())
"""
SAVE = """
runner = OpenCodeRunner(task_name='save_test')
runner.run('问题1')
runner.run('问题2')
filepath = runner.save_markdown()
print(f"已保存到: {filepath}")
filepath = runner.save_markdown('/path/to/output.md')
markdown_text = runner.get_conversation_markdown()
print(markdown_text)
"""
COMPLETE = """
model_source = ModelSource()
model_source.set_model(
    ModelSourceType.CODE,
    baseurl="https://api.openai.com",
    apikey="sk-your-api-key",
    model="gpt-4",
    temperature=0.3
)
runner = OpenCodeRunner(
    task_name='example',
    model_source=model_source,
    context='You are a Python expert. Answer in Chinese.'
)
result = runner.run(
    'Write a Python function to calculate factorial',
    model_source_type=ModelSourceType.CODE,
    wait=True
)

print(f"输出: {result['output']}")
print(f"会话 ID: {result['session_id']}")
print(f"任务目录: {result['task_dir']}")
print(f"状态: {result['state']}")
result2 = runner.run('Add error handling to the function')
print(f"第二轮输出: {result2['output']}")
filepath = runner.save_markdown()
print(f"对话已保存到: {filepath}")
"""

Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    with in_thread(serve_model()) as model:
        yield model


@pytest.fixture
def printed(tmp_path: Path, model: ScriptedModel) -> Run:
    """Run a Python program, or the runner's command with arguments, with opencode on the scripted model."""
    env = opencode.shell(opencode.home(tmp_path / "home", model.base_url)) | {"PYTHONWARNINGS": "error"}
    work = tmp_path / "work"
    work.mkdir()

    def run(program: str | list[str], *, code: int = 0) -> list[str]:
        if isinstance(program, str):
            text = IMPORT + local(program, model, tmp_path)
            arguments = [sys.executable, "-c", text.replace("List all files recursively", "[[slow 400 50]]")]
        else:
            arguments = program
        done = subprocess.run(
            arguments, cwd=work, env=env, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout.splitlines()

    return run


def local(text: str, model: ScriptedModel, directory: Path) -> str:
    """Return a text with its addresses, models and paths replaced by ones that exist."""
    server = model.base_url.removesuffix("/v1")
    text = text.replace("https://api.openai.com", server).replace("opencode/claude-sonnet-4-5", "scripted/scripted-b")
    return text.replace("/path/to", str(directory / "elsewhere"))


def test_the_first_example_works(printed: Run) -> None:
    assert printed(BASIC) == ["echo: Say hello in Chinese"]


def test_the_named_model_is_used(printed: Run, model: ScriptedModel) -> None:
    model.requests.clear()

    assert printed(MODEL) == ["echo: What is Python?"]
    assert model.last_prompt["body"]["model"] == "scripted-b"


def test_turns_are_one_conversation(printed: Run, model: ScriptedModel) -> None:
    said = printed(TURNS)

    assert said[:2] == ["echo: What is 2+2?", "echo: Now multiply that by 3"]
    assert said[2].startswith("ses_")
    assert "What is 2+2?" in json.dumps(model.last_prompt["body"]["messages"])


def test_each_purpose_uses_its_model(printed: Run, model: ScriptedModel) -> None:
    model.requests.clear()
    printed(SOURCES)

    assert [request["body"]["model"] for request in model.requests] == ["gpt-4", "gpt-3.5-turbo"]
    assert [request["body"]["temperature"] for request in model.requests] == [0.3, 0.8]


def test_models_are_read_from_a_file(printed: Run, model: ScriptedModel, tmp_path: Path) -> None:
    (tmp_path / "work" / ".env").write_text(local(ENV_FILE, model, tmp_path))
    model.requests.clear()
    printed(FROM_FILE)

    assert [(request["body"]["model"], request["body"]["max_tokens"]) for request in model.requests] == [
        ("gpt-4", 4096)
    ]


def test_a_run_is_monitored(printed: Run) -> None:
    said = printed(MONITOR)

    assert said[0] == "State: running"
    assert said[-2:] == ["State: completed, Output length: 24", "echo: Write a long story"]


@pytest.mark.parametrize("program", [INTERRUPT, KILL], ids=["interrupted", "killed"])
def test_a_run_is_interrupted_or_killed(printed: Run, program: str) -> None:
    assert printed(program)[-1] == "RunState.INTERRUPTED"


def test_the_conversation_is_saved(printed: Run, tmp_path: Path) -> None:
    said = printed(SAVE)

    saved = (tmp_path / "elsewhere" / "output.md").read_text()
    assert said[0].startswith("已保存到: ")
    assert Path(said[0].partition(": ")[2]).read_text() == saved == "\n".join(said[1:])
    assert all(text in saved for text in ("问题1", "echo: 问题1", "问题2", "echo: 问题2"))


def test_the_complete_example_works(printed: Run, model: ScriptedModel) -> None:
    said = printed(COMPLETE)

    assert said[0] == "输出: echo: Write a Python function to calculate factorial"
    assert said[3:5] == ["状态: completed", "第二轮输出: echo: Add error handling to the function"]
    assert "Answer in Chinese." in json.dumps(model.last_prompt["body"]["messages"])


EXEC = [str(Path(sys.executable).with_name("gateway")), "exec"]


@pytest.mark.parametrize("program", [[sys.executable, "-m", "gateway.runner"], EXEC], ids=["module", "command"])
def test_the_command_line_works(printed: Run, program: list[str], tmp_path: Path) -> None:
    options = ["--task-name", "my_task", "--model", "scripted/scripted-b", "--context", "Answer in Chinese"]
    options += ["--workspace", str(tmp_path / "tasks"), "--model-source-type", "code", "--no-env"]

    assert printed([*program, "What is Python?", "--save-markdown", *options]) == ["echo: What is Python?"]
    (task,) = (tmp_path / "tasks").iterdir()
    assert task.name.startswith("task_my_task_")
    assert "echo: What is Python?" in (task / "conversation.md").read_text()


def test_a_task_that_nobody_waits_for_goes_on(printed: Run, tmp_path: Path) -> None:
    said = printed(
        [*EXEC, "--no-wait", "--json", "--workspace", str(tmp_path / "tasks"), "--context=-x", "--", "--json"]
    )

    (task,) = (tmp_path / "tasks").iterdir()
    assert json.loads(said[0])["task_dir"] == str(task)
    until_sync((task / "conversation.md").exists, "the conversation is written")
    assert "echo: --json" in (task / "conversation.md").read_text()


def test_a_failed_task_is_an_error(printed: Run) -> None:
    printed([*EXEC, "[[error 401]]"], code=1)
    printed([*EXEC], code=2)
    printed([*EXEC, "Hello", "--config", "nothing.env"], code=2)


@pytest.mark.parametrize("program", [[sys.executable, "-m", "gateway.runner"], EXEC], ids=["module", "command"])
@pytest.mark.parametrize("arguments", [["  "], [b"\xff"], ["Hello", "--workspace", "/dev/null"]])
def test_an_error_is_shown_without_a_traceback(
    arguments: list[str | bytes], program: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "broke" not in done.stderr
