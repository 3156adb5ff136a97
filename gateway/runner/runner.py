"""`OpenCodeRunner`: a task, its directory, and the turns of its conversation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from gateway import private_file
from gateway.backends.opencode.refs import parse_ref
from gateway.domain import ids
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Text
from gateway.domain.ports.backend import FullReply, SessionRef, Turn, TurnOutput
from gateway.domain.run import FinishReason
from gateway.domain.session import Message, Role
from gateway.engine.execution.cleaning import clean_events
from gateway.errors import AgentError, GatewayError
from gateway.process.terminal_text import clean_text
from gateway.runner import setup
from gateway.runner.conversation import ConversationLine, format_markdown
from gateway.runner.driver import Driver, DriverTask
from gateway.runner.sources import ModelSource, ModelSourceType

#: events of a turn that are kept, at most; older ones are dropped
MAX_TURN_EVENTS = 10_000
#: seconds for an interrupted turn to end; the backend stops within two
INTERRUPT_TIMEOUT_SECONDS = 10.0
#: file in the task's directory that each turn rewrites at its end
CONVERSATION_FILE = "conversation.md"


class RunState(Enum):
    """The state of a runner's last turn."""

    IDLE = "idle"
    RUNNING = "running"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    ERROR = "error"


class Result(TypedDict):
    """The result of a turn, so far."""

    #: the answer
    output: str
    #: opencode's id of the conversation; None until it has one
    session_id: str | None
    #: absolute path
    task_dir: str
    #: the value of a `RunState`
    state: str
    #: what happened, oldest first; each has a `kind`
    json_events: list[dict[str, Any]]
    #: what went wrong; None if nothing did
    error: str | None


class _RunnerTurn:
    """One turn: its output so far, and the task to end it."""

    def __init__(self) -> None:
        self.state = RunState.RUNNING
        self.text: list[str] = []
        self.reply: str | None = None
        self.events: deque[dict[str, Any]] = deque(maxlen=MAX_TURN_EVENTS)
        self.error: str | None = None
        self.work: DriverTask | None = None
        self.over = threading.Event()

    @property
    def current_output(self) -> str:
        return self.reply if self.reply is not None else "".join(self.text)


class OpenCodeRunner:
    """Drives opencode for one task. Its methods may be called from any thread."""

    def __init__(
        self,
        task_name: str = "task",
        model: str | None = None,
        context: str | None = None,
        workspace: str | os.PathLike[str] | None = None,
        model_source: ModelSource | None = None,
        task_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Create the task's directory, `task_<name>_<8 hex digits>`, or use the given one.

        Args:
            model: in opencode's own words, `provider/model`; `opencode models` lists them.
            context: the system prompt.
            workspace: where the task's directory is created; by default, the current directory.
            model_source: models by purpose, for `run`.
            task_dir: a directory to work in, instead of a new one.
        """
        self.task_name = task_name
        self.model = model
        self.context = context
        self.model_source = model_source
        self.task_dir = Path(task_dir or _new_task_directory(Path(workspace or Path.cwd()), task_name)).absolute()
        self.task_dir.mkdir(parents=True, exist_ok=task_dir is not None)
        #: the backend's reference to the conversation
        self._session: str | None = None
        self._lines: list[ConversationLine] = []
        self._turn: _RunnerTurn | None = None
        self._lock = threading.RLock()

    def run(
        self,
        message: str,
        model_source_type: ModelSourceType | str = ModelSourceType.DEFAULT,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Result:
        """Send a message in the task's conversation, and return the result of the turn.

        Args:
            model_source_type: the purpose, which picks a model of the model source.
            wait: whether to return when the answer is complete, and not at once.
            timeout: seconds to wait; the turn goes on after it.

        Raises:
            RuntimeError: the previous turn is still running.
            TimeoutError: it has not ended in that time.
            ValueError: the message is empty or not valid text, or the purpose is unknown.
        """
        if not message.strip():
            raise ValueError("the message is empty.")
        for text in (message, self.context or ""):
            text.encode()  # fails here for half a character, as in a command line that is not UTF-8
        agent = setup.make_agent(
            self.model, self.context, self.model_source, ModelSourceType(model_source_type), str(self.task_dir)
        )
        with self._lock:
            if self.is_running():
                raise RuntimeError("a turn of this task is under way: wait for it, or interrupt it.")
            driver = Driver.get_driver()
            self._turn = turn = _RunnerTurn()
            self._lines.append(ConversationLine(Role.USER, message, _local_now()))
            turn.work = driver.start_task(self._run_turn(turn, agent, message))
        if not wait:
            return self._make_result(turn)
        try:
            return self.wait(timeout)
        except (KeyboardInterrupt, SystemExit):
            self.interrupt()
            raise

    def wait(self, timeout: float | None = None) -> Result:
        """Wait until the turn has ended, and return its result.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            RuntimeError: `run` was not called yet.
            TimeoutError: it has not ended in that time; it goes on.
        """
        turn = self._turn
        if turn is None:
            raise RuntimeError("nothing was said yet: call run first.")
        if not turn.over.wait(timeout):
            raise TimeoutError(f"the turn has not ended within {timeout:g} s; it goes on.")
        return self._make_result(turn)

    def interrupt(self) -> bool:
        """End the turn and wait until opencode has stopped; return False if no turn is running."""
        return self._cancel_turn(INTERRUPT_TIMEOUT_SECONDS)

    def kill(self) -> bool:
        """End the turn without waiting for opencode; return False if no turn is running."""
        return self._cancel_turn(0.0)

    def is_running(self) -> bool:
        return self.get_state() is RunState.RUNNING

    def get_state(self) -> RunState:
        turn = self._turn
        return RunState.IDLE if turn is None else turn.state

    def get_current_output(self) -> str:
        """Return the answer so far, from its start."""
        turn = self._turn
        return "" if turn is None else turn.current_output

    def get_session_id(self) -> str | None:
        """Return opencode's id of the conversation; None before it has one."""
        return None if self._session is None else parse_ref(self._session).session

    def get_json_events(self) -> list[dict[str, Any]]:
        """Return the events of the turn, oldest first."""
        turn = self._turn
        return [] if turn is None else list(turn.events)

    def get_recent_events(self, count: int = 10) -> list[dict[str, Any]]:
        """Return the last events of the turn."""
        return self.get_json_events()[-count:]

    def get_conversation_history(self) -> list[dict[str, str]]:
        """Return all messages, oldest first: `role`, `content` and `timestamp`."""
        return [
            {"role": line.role, "content": line.content, "timestamp": line.at.isoformat()} for line in list(self._lines)
        ]

    def get_conversation_markdown(self) -> str:
        return format_markdown(self.task_name, self.get_session_id(), self.model, list(self._lines))

    def save_markdown(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write the conversation to a file, by default `conversation.md` in the task's directory.

        Returns:
            The path of the file.
        """
        text = self.get_conversation_markdown()
        file = self.task_dir / CONVERSATION_FILE if path is None else Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        if path is None:  # whoever reads it meanwhile sees all of a turn
            private_file.replace_readable_file(file, text.encode())
        else:
            file.write_text(text, encoding="utf-8")
        return str(file)

    # --- in the driver's thread -------------------------------------------------------------

    async def _run_turn(self, turn: _RunnerTurn, agent: Agent, message: str) -> None:
        asked = Turn(
            run=ids.make_ulid(time.time_ns() // 1_000_000),
            attempt=1,
            agent=agent,
            input=message,
            model=agent.model,
            session=self.task_name,
            session_ref=self._session,
            workspace=str(self.task_dir),
            read_history=_no_history,
        )
        try:
            async with aclosing(clean_events(Driver.get_driver().backend.stream_turn(asked))) as said:
                async for one in said:
                    self._note_event(turn, one)
        except AgentError as error:
            self._end_turn(turn, RunState.ERROR, clean_text(str(error)))
        except GatewayError as error:
            self._end_turn(turn, RunState.ERROR, f"cannot run opencode: {error}")
        except asyncio.CancelledError:
            self._end_turn(turn, RunState.INTERRUPTED)
            raise
        except Exception as error:
            self._end_turn(turn, RunState.ERROR, f"the runner broke: {type(error).__name__}: {error}")
            raise
        else:
            self._end_turn(turn, RunState.COMPLETED)

    def _note_event(self, turn: _RunnerTurn, said: TurnOutput) -> None:
        match said:
            case SessionRef(ref=ref):
                self._session = ref
                return
            case FullReply(text=text):
                turn.reply = text
                return
            case FinishReason():
                if not said.remark:
                    return
                said = Log(level="warning", message=said.remark)
            case Text(delta=delta):
                turn.text.append(delta)
        turn.events.append(msgspec.to_builtins(said))

    # --- in any thread ----------------------------------------------------------------------

    def _cancel_turn(self, timeout_seconds: float) -> bool:
        with self._lock:
            turn = self._turn
            if turn is None or turn.state is not RunState.RUNNING or turn.work is None:
                return False
            self._end_turn(turn, RunState.INTERRUPTED)
            work = turn.work
        work.cancel_and_wait(timeout_seconds)
        return True

    def _end_turn(self, turn: _RunnerTurn, state: RunState, error: str | None = None) -> None:
        """Record the end of a turn, unless it is recorded already."""
        with self._lock:
            if turn.state is not RunState.RUNNING:
                return
            turn.state, turn.error = state, error
            if turn.current_output:
                self._lines.append(ConversationLine(Role.ASSISTANT, turn.current_output, _local_now()))
            with contextlib.suppress(OSError):  # a file that cannot be written must not lose the answer
                self.save_markdown()
            turn.over.set()

    def _make_result(self, turn: _RunnerTurn) -> Result:
        return Result(
            output=turn.current_output,
            session_id=self.get_session_id(),
            task_dir=str(self.task_dir),
            state=turn.state.value,
            json_events=list(turn.events),
            error=turn.error,
        )


def _new_task_directory(workspace: Path, task_name: str) -> Path:
    slug = re.sub(r"[^\w.-]+", "_", task_name).strip("._")[:64] or "task"
    return workspace / f"task_{slug}_{secrets.token_hex(4)}"


async def _no_history() -> Sequence[Message]:
    """Return no history: opencode keeps its own."""
    return ()


def _local_now() -> datetime:
    return datetime.now().astimezone()
