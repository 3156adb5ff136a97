"""Runs one task from the command line: `gateway exec`, and `python -m gateway.runner`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click
from click.core import ParameterSource

from gateway.errors import AgentError, InvalidRequest
from gateway.runner.runner import OpenCodeRunner, RunState
from gateway.runner.sources import ModelSource, ModelSourceType
from gateway.security import unsafe_text

#: file in the current directory with model sources
MODELS_ENV_FILE = ".env"
#: file in the task's directory for the output of a task in the background
OUTPUT_LOG_NAME = "output.log"


@click.command
@click.argument("prompt", required=False)
@click.option("--message", metavar="TEXT", help="The prompt, instead of the argument.")
@click.option("--task-name", metavar="NAME", default="task", help="Name of the task and of its directory.")
@click.option("--model", metavar="NAME", help="Model in opencode's words, provider/model.")
@click.option("--context", metavar="TEXT", help="System prompt.")
@click.option("--workspace", metavar="DIR", help="Where the task's directory is made; here when left out.")
@click.option(
    "--model-source-type",
    type=click.Choice([purpose.value for purpose in ModelSourceType], case_sensitive=False),
    default=ModelSourceType.DEFAULT.value,
    help="Purpose, which picks MODEL_<PURPOSE>_MODEL.",
)
@click.option("--config", metavar="FILE", help=f"File with models, instead of {MODELS_ENV_FILE}.")
@click.option("--no-env", is_flag=True, help="Take no models from a file or the environment.")
@click.option("--save-markdown", is_flag=True, help="Say where the conversation was written.")
@click.option("--no-wait", is_flag=True, help="Return at once; the work goes on.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@click.option("--task-dir", hidden=True)
def COMMAND(  # noqa: N802 the seam's name
    prompt: str | None,
    message: str | None,
    task_name: str,
    model: str | None,
    context: str | None,
    workspace: str | None,
    model_source_type: str,
    config: str | None,
    no_env: bool,
    save_markdown: bool,
    no_wait: bool,
    as_json: bool,
    task_dir: str | None,
) -> None:
    """Have opencode do PROMPT in a directory of its own, and print its answer. Needs no running gateway.

    \b
    Examples:
      gateway exec "What is Python?"
      gateway exec "Write a parser" --task-name parser --model-source-type code
      gateway exec "Write a long story" --no-wait

    \b
    --json prints
      {"output": str, "session_id": str, "task_dir": str, "state": str, "json_events": [...], "error": str | null}
    and with --no-wait {"task_dir": str, "pid": int, "log": str}
    """
    said = message or prompt or ""
    if not said.strip():
        raise InvalidRequest("there is nothing to say.", remedy='Give a prompt: gateway exec "What is Python?"')
    source = _load_models(config, no_env)
    try:
        runner = OpenCodeRunner(task_name, model, context, workspace, source, task_dir)
    except OSError as error:
        raise InvalidRequest(f"cannot make the task's directory: {error}", remedy="Choose --workspace.") from error
    if no_wait:
        _work_in_background(runner.task_dir, said, as_json)
        return
    _print_note(f"Working in {runner.task_dir}")
    _end_on_signals()
    try:
        result = runner.run(said, model_source_type)
    except ValueError as error:
        raise InvalidRequest(f"the prompt or the context cannot be sent: {error}") from error
    _print_result(json.dumps(result) if as_json else result["output"])
    if save_markdown:
        _print_note(f"Saved to {runner.save_markdown()}")
    if result["state"] != RunState.COMPLETED.value:
        raise AgentError(result["error"])


def _print_result(text: str) -> None:
    click.echo(unsafe_text.protect_terminal(text, sys.stdout), color=True)


def _print_note(text: str) -> None:
    click.echo(unsafe_text.replace_unsafe(text), err=True)


def _load_models(config: str | None, no_env: bool) -> ModelSource | None:
    """Return the model sources of the file, of `.env`, or of the environment; None for none.

    Raises:
        InvalidRequest: a value is not valid, or the file does not exist.
    """
    try:
        if no_env:
            return None
        if config is not None:
            return ModelSource.from_env_file(config)
        return ModelSource.from_env_file(MODELS_ENV_FILE) if Path(MODELS_ENV_FILE).is_file() else ModelSource.from_env()
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"the models cannot be read: {error}") from error


def _end_on_signals() -> None:
    """End opencode on SIGTERM and SIGHUP, as on Ctrl-C; it would go on working, and cost money, unseen."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit_on_signal)


def _exit_on_signal(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _work_in_background(directory: Path, said: str, as_json: bool) -> None:
    """Start another process that does the same in the task's directory, and do not wait for it."""
    log = directory / OUTPUT_LOG_NAME
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "gateway.runner", *_repeat_options(), f"--task-dir={directory}", "--", said],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    if as_json:
        _print_result(json.dumps({"task_dir": str(directory), "pid": child.pid, "log": str(log)}))
    else:
        _print_result(f"Working in {directory} (pid {child.pid}); what it says goes to {log}")


def _repeat_options() -> list[str]:
    """Return the options of this call for another process, without the prompt and `--no-wait`."""
    here = click.get_current_context()
    given = [
        option
        for option in here.command.params
        if isinstance(option, click.Option)
        and here.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        and option.name not in ("message", "no_wait", "task_dir")
    ]
    return [
        option.opts[0] if option.is_flag else f"{option.opts[0]}={here.params[str(option.name)]}" for option in given
    ]
