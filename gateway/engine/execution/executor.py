"""Executes one attempt of a run in three steps: prepare, perform, settle."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from gateway import log
from gateway.domain import goal
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.delivery import WEBHOOK_KIND
from gateway.domain.event import AnyEventData, Log
from gateway.domain.file import File
from gateway.domain.permission import QUESTION_CHOICES, Answer, GivenAnswer, PermissionQuestion
from gateway.domain.ports.backend import Backend, NewFile, TakesFiles, Turn
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.ports.run_store import Fenced
from gateway.domain.ports.store import Store
from gateway.domain.question import AnswerContent, Question, clean_question
from gateway.domain.run import (
    AttemptResult,
    GoalRound,
    Mode,
    Move,
    Outcome,
    Run,
    SessionStart,
    Status,
)
from gateway.engine.execution.attempt import Attempt, Interrupt
from gateway.engine.execution.attempt_files import AttemptFiles
from gateway.engine.execution.cleaning import clean_events
from gateway.engine.execution.recorder import Recorder
from gateway.engine.execution.tool_times import time_tools
from gateway.engine.file_staging import Staging
from gateway.engine.storage_retry import RETRYABLE_STORAGE_ERRORS, until_stored
from gateway.errors import AgentError, AgentNotFound, Exhausted, GatewayError, PromptRefused, Unavailable
from gateway.process.terminal_text import clean_text

#: messages of a session that a backend may read
MAX_HISTORY_MESSAGES = 500
#: seconds that a backend has to end a turn that is over or was interrupted
TURN_CLOSE_TIMEOUT_SECONDS = 5.0
#: seconds between attempts to begin a turn while the machine has no room for it
NO_ROOM_RETRY_DELAYS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: characters of an error that are stored
MAX_RUN_ERROR_CHARACTERS = 2000

#: asks people the permission question of an attempt; returns their answer within that many seconds
AskPermission = Callable[[Run, PermissionQuestion, float], Awaitable[GivenAnswer]]

_log = log.get()


class Executor:
    """Executes attempts, and holds what all of them need."""

    def __init__(
        self,
        store: Store,
        agents: Callable[[str], Agent | None],
        backends: Mapping[str, Backend],
        ask: AskPermission,
        *,
        open_staging: Callable[[], Staging],
        fetch_content: Callable[[File], Awaitable[Path]],
        workspaces: Path,
        without_workspace: Collection[str],
        outputs: Path,
        output_limit: int,
        ended: Callable[[], None],
    ) -> None:
        """Args:
        open_staging: returns where the files are kept that an attempt makes.
        fetch_content: returns where the content of a file is, as `Files.fetch_content`.
        without_workspace: names of the backends that need no workspace.
        ended: called when a run has ended that leaves a workspace which nobody uses any more.
        """
        self._store = store
        self._agents = agents
        self._backends = backends
        #: the names of the backends that hand files to their agents
        self._file_takers = {name for name, backend in backends.items() if isinstance(backend, TakesFiles)}
        self._ask = ask
        self._open_staging = open_staging
        self._fetch_content = fetch_content
        self._workspaces = workspaces
        self._without_workspace = without_workspace
        self._ended = ended
        self._outputs = outputs
        self._output_limit = output_limit

    async def execute_attempt(self, attempt: Attempt) -> None:
        """Work on a claimed run until its end is on disk, or it is back in the queue."""
        run = attempt.run
        with log.bound(run=run.id, agent=run.spec.agent, attempt=run.attempt):
            recorder = Recorder(
                self._store,
                run,
                backend=self._backend_name(run),
                outputs=self._outputs,
                limit=self._output_limit,
                fenced=lambda: attempt.interrupt(Interrupt.FENCED),
            )
            attempt.files = AttemptFiles(run.id, self._open_staging(), self._fetch_content)
            result = await self._perform_attempt(attempt, recorder)
            try:
                await self._settle_run(attempt, recorder, result)
            except Exception:  # a run that stays in `running` blocks its session for ever
                _log.exception("run.end_broke")
                await self._finish_run(
                    run, _make_failure("the gateway failed while it stored the end of this run; its log says more."), []
                )
            finally:
                await attempt.files.close()

    # --- prepare ----------------------------------------------------------------------------

    async def _prepare_turn(self, attempt: Attempt, recorder: Recorder) -> tuple[Backend, Turn]:
        run, number = attempt.run, attempt.rounds or 1
        agent = self._agents(run.spec.agent)
        if agent is None:
            raise AgentNotFound(f"the agent {run.spec.agent!r} is no longer configured.")
        start, attempt.session_start = attempt.session_start, None
        if start is None:
            session = await self._store.sessions.find(run.spec.session)
            start = SessionStart(backend_ref=session.backend_ref if session else None)
        kind, _, ref = (start.backend_ref or "").partition(":")
        backend, files = self._backends[agent.backend], attempt.files
        workspace = await self._ensure_workspace(agent, run, start.workspace)
        outbox = ""
        if workspace:
            is_shared, is_continued = agent.workspace is not None, bool(run.rounds)
            outbox = await files.use_workspace(workspace, is_shared=is_shared, is_continued=is_continued)
        turn = Turn(
            run=run.id,
            attempt=run.attempt,
            round=number,
            agent=agent,
            input=_add_outbox_note(run.spec.build_prompt(number), run, outbox),
            attachments=run.spec.attachments if number == 1 else (),
            read_file=files.read_content,
            place_files=files.place_files,
            depth=run.spec.depth,
            traceparent=run.spec.traceparent,
            model=run.spec.model or agent.model,
            session=run.spec.session,
            session_ref=ref if kind == agent.backend else None,
            workspace=workspace,
            outbox=outbox,
            read_history=lambda: self._store.sessions.read_history(run.spec.session, MAX_HISTORY_MESSAGES),
            ask_permission=lambda question: self._answer_permission(attempt, recorder, agent, question),
            ask_question=lambda question: self._answer_question(attempt, recorder, agent, question),
        )
        if agent.backend in self._file_takers:
            return backend, turn
        return backend, msgspec.structs.replace(await turn.put_aside(turn.attachments), attachments=())

    def _backend_name(self, run: Run) -> str:
        agent = self._agents(run.spec.agent)
        return agent.backend if agent else ""

    async def _ensure_workspace(self, agent: Agent, run: Run, known: str | None) -> str:
        """Return the directory in which a turn works; empty if its backend needs none.

        Args:
            known: name of its workspace, if it need not be looked up.
        """
        if agent.backend in self._without_workspace:
            return ""
        if agent.workspace is not None:
            return _find_named_workspace(agent.workspace)
        name = known or await self._store.workspaces.open(run.spec.session, run.seq)
        return _make_workspace(self._workspaces, name)

    # --- perform ----------------------------------------------------------------------------

    async def _perform_attempt(self, attempt: Attempt, recorder: Recorder) -> AttemptResult | None:
        """Drive the backend. Returns how it ended, or None if the attempt was interrupted from outside.

        A complete answer counts even then. A failure does not: the interruption may be its cause.
        """
        result = await self._drive_to_result(attempt, recorder)
        if result is None or result.move is Move.SUCCEED or attempt.interrupted_by is None:
            return result
        _log.info("run.interrupted", why=attempt.interrupted_by.value, error=result.error)
        return None

    async def _drive_to_result(self, attempt: Attempt, recorder: Recorder) -> AttemptResult | None:
        try:
            finished = await self._drive_backend(attempt, recorder)
        except AgentError as error:
            return _make_failure(str(error), prompt_refused=isinstance(error, PromptRefused))
        except RETRYABLE_STORAGE_ERRORS as error:  # the disk failed, not the agent
            _log.warning("run.disk_refuses", error=str(error))
            attempt.interrupt(Interrupt.DISK)
            return None
        except GatewayError as error:
            return _make_failure(f"cannot run the agent: {error}")
        except Fenced:
            attempt.interrupt(Interrupt.FENCED)
            return None
        except Exception as error:
            _log.exception("run.backend_broke")
            return _make_failure(f"the backend failed with a bug: {type(error).__name__}: {error}")
        if finished:
            return AttemptResult(
                move=Move.SUCCEED,
                outcome=Outcome.COMPLETED,
                result=recorder.current_reply,
                finish=recorder.finish,
            )
        return self._make_timeout(attempt.run, recorder.last_remark)

    def _make_timeout(self, run: Run, last_remark: str) -> AttemptResult:
        seconds = self._timeout_seconds(run)
        said = f"; its last remark: {last_remark}" if last_remark else "."
        failure = _make_failure(f"the agent did not finish within {seconds:g} s{said}")
        return msgspec.structs.replace(failure, outcome=Outcome.TIMEOUT)

    async def _drive_backend(self, attempt: Attempt, recorder: Recorder) -> bool:
        """Work until the end, the deadline, or an interrupt. Returns whether the agent finished."""
        work = self._pursue_goal if attempt.run.spec.mode is Mode.GOAL else self._take_turn_with_retries
        driving = asyncio.create_task(work(attempt, recorder), name=f"turn-{attempt.run.id}")
        try:
            if not await attempt.wait_for(driving, self._timeout_seconds(attempt.run)):
                return False
            if driving.cancelled():  # by the backend itself: the `finally` below cancels it only later
                raise AgentError("the backend cancelled its turn.")
            driving.result()
            return True
        finally:
            if not driving.done():
                await _cancel_turn(driving)

    async def _take_turn_with_retries(self, attempt: Attempt, recorder: Recorder) -> None:
        """Take a turn. If the machine has no room for it, it has not begun, and is tried again."""
        for pause in NO_ROOM_RETRY_DELAYS_SECONDS:
            try:
                return await self._take_turn(attempt, recorder)
            except Exhausted as error:
                _log.warning("run.no_room", error=error.message, again_in=pause)
                await recorder.record_output(
                    Log(level="warning", message=f"{error.message} It is tried again in {pause:g} s.")
                )
                await recorder.flush_events()
            await asyncio.sleep(pause)
        return await self._take_turn(attempt, recorder)

    async def _take_turn(self, attempt: Attempt, recorder: Recorder) -> None:
        backend, prepared = await self._prepare_turn(attempt, recorder)
        async with aclosing(time_tools(clean_events(backend.stream_turn(prepared)))) as stream:
            async for said in stream:
                if isinstance(said, NewFile):
                    await attempt.files.add_made(said)
                else:
                    await recorder.record_output(said)

    async def _answer_permission(
        self, attempt: Attempt, recorder: Recorder, agent: Agent, question: PermissionQuestion
    ) -> Answer:
        """Answer a permission question by the agent's policy, which may be to ask people."""
        if agent.permission_policy is not PermissionPolicy.ASK:
            return Answer.ALLOW if agent.permission_policy is PermissionPolicy.ALLOW else Answer.DENY
        cleaned = msgspec.structs.replace(question, action=clean_text(question.action))
        return (await self._ask_people(attempt, recorder, agent, cleaned)).answer

    async def _answer_question(
        self, attempt: Attempt, recorder: Recorder, agent: Agent, question: Question
    ) -> AnswerContent | None:
        """Return people's answers to a question; None at once if the agent's policy is not to ask them."""
        try:
            cleaned = clean_question(question)
        except ValueError as error:
            await recorder.record_output(
                Log(level="warning", message=f"nobody can answer the agent's question: {error}")
            )
            return None
        if agent.permission_policy is not PermissionPolicy.ASK:
            why = f'nobody is asked what the agent asks, because "permissions" is {agent.permission_policy}'
            said = f"{why}: {cleaned.message}"
            await recorder.record_output(Log(level="warning", message=said))
            return None
        asked = PermissionQuestion(action=cleaned.message, choices=QUESTION_CHOICES, question=cleaned)
        return (await self._ask_people(attempt, recorder, agent, asked)).content

    async def _ask_people(
        self, attempt: Attempt, recorder: Recorder, agent: Agent, question: PermissionQuestion
    ) -> GivenAnswer:
        try:
            await recorder.flush_events()
            return await self._ask(attempt.run, question, agent.permission_timeout)
        except Fenced:
            attempt.interrupt(Interrupt.FENCED)
            return GivenAnswer(Answer.DENY)

    async def _pursue_goal(self, attempt: Attempt, recorder: Recorder) -> None:
        """Prompt the agent in rounds until it reaches the goal. Rounds of an earlier attempt are not repeated."""
        run = attempt.run
        attempt.rounds, attempt.done = (run.rounds or 0) + 1, False
        while True:
            await self._take_turn_with_retries(attempt, recorder)
            attempt.done = goal.is_reached(recorder.current_reply)
            if attempt.done or attempt.rounds >= run.spec.max_rounds:
                return
            ended = GoalRound(
                number=attempt.rounds, reply=recorder.current_reply, usage=recorder.usage, files=attempt.files.files
            )
            said = [*await recorder.close(), *attempt.files.tell_made()]
            await self._store_goal_round(run, ended, said, attempt.files.staged)
            attempt.files.note_stored()
            recorder.start_next_round()
            attempt.rounds += 1

    async def _store_goal_round(
        self, run: Run, ended: GoalRound, said: Sequence[AnyEventData], staged: Sequence[StagedFile]
    ) -> None:
        await until_stored(lambda: self._store.runs.end_round(run.id, run.epoch, ended, said, staged))

    def _timeout_seconds(self, run: Run) -> float:
        agent = self._agents(run.spec.agent)
        return run.spec.timeout or (agent.timeout if agent else 60.0)

    # --- settle -----------------------------------------------------------------------------

    async def _settle_run(self, attempt: Attempt, recorder: Recorder, result: AttemptResult | None) -> None:
        """Store the end of the run, or put it back into the queue."""
        run, said = attempt.run, await recorder.close()
        if result is None and attempt.interrupted_by is Interrupt.CANCEL:
            result = AttemptResult(
                move=Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER, result=recorder.current_reply or None
            )
        if attempt.interrupted_by is Interrupt.FENCED:
            _log.warning("run.fenced")
        elif result is not None:
            told = await attempt.files.collect()
            result = msgspec.structs.replace(
                result,
                usage=recorder.usage,
                rounds=attempt.rounds,
                done=attempt.done,
                notices=recorder.notices,
                files=attempt.files.files,
            )
            if await self._finish_run(run, result, [*said, *told], attempt.files.staged):
                await attempt.files.clear_outbox()
            # A run that was asked to stop may have kept the workspace of a deleted session.
            if attempt.interrupted_by is Interrupt.CANCEL or run.spec.ephemeral or not run.spec.keeps_workspace:
                self._ended()
        else:
            why = (attempt.interrupted_by or Interrupt.STOP).value
            await _store_settlement(lambda: self._store.runs.requeue(run.id, run.epoch, why))

    async def _finish_run(
        self, run: Run, result: AttemptResult, said: Sequence[AnyEventData], staged: Sequence[StagedFile] = ()
    ) -> bool:
        """Store the end of a run; return False if the attempt is no longer the run's."""
        return await _store_settlement(lambda: self._store.runs.finish(run.id, run.epoch, result, said, staged))


def _add_outbox_note(prompt: str, run: Run, outbox: str) -> str:
    """Return a prompt that tells the agent how to send files, if its caller wants some or its answer goes to a chat."""
    goes_to_chat = any(target.kind != WEBHOOK_KIND for target in run.spec.deliver)
    if not outbox or not (run.spec.wants_files or goes_to_chat):
        return prompt
    return "\n\n".join(filter(None, [prompt, f"(Files that you write into {outbox} are sent to the user.)"]))


def _make_workspace(parent: Path, name: str) -> str:
    own = os.path.join(parent, name)
    try:
        if not os.path.isdir(own):
            os.makedirs(own, mode=0o700, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot create the workspace {own}: {error.strerror}.") from error
    return own


def _find_named_workspace(named: str) -> str:
    given = Path(named)
    if not given.is_dir():
        raise AgentError(f"the agent's workspace {given} is not a directory.", remedy="Create it, or change it.")
    return str(given)


async def _cancel_turn(task: asyncio.Task[None]) -> None:
    """Cancel a turn and wait until it has ended. It may still say what it has cost; its error does not count."""
    task.cancel()
    _, pending = await asyncio.wait({task}, timeout=TURN_CLOSE_TIMEOUT_SECONDS)
    if pending:
        _log.error("run.backend_does_not_end", seconds=TURN_CLOSE_TIMEOUT_SECONDS)
    elif not task.cancelled() and task.exception() is not None:
        _log.debug("run.ended_with", error=str(task.exception()))


async def _store_settlement(settle: Callable[[], Awaitable[Run]]) -> bool:
    """Store the end of an attempt; return False if it is no longer the run's."""
    try:
        ended = await until_stored(settle)
    except Fenced:
        _log.warning("run.fenced")
        return False
    level = logging.WARNING if ended.status is Status.FAILED else logging.INFO
    _log.log(level, "run.settled", status=ended.status, outcome=ended.outcome, error=ended.error)
    return True


def _make_failure(error: str, *, prompt_refused: bool = False) -> AttemptResult:
    # A program may say something that is not Unicode, or very long.
    shown = clean_text(error)[:MAX_RUN_ERROR_CHARACTERS].encode("utf-8", "replace").decode()
    return AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error=shown, prompt_refused=prompt_refused)
