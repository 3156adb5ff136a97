"""One attempt of a run, as named steps: prepare, perform, settle."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from enum import Enum
from pathlib import Path

import msgspec

from gateway import log
from gateway.domain import goal
from gateway.domain.agent import Agent, Permissions
from gateway.domain.event import Log, Said
from gateway.domain.permission import Answer, Wanted
from gateway.domain.ports.backend import Backend, Turn
from gateway.domain.ports.store import Fenced, Store
from gateway.domain.run import Mode, Move, Outcome, Round, Run, Verdict
from gateway.engine.execution.recorder import Recorder
from gateway.engine.storage_retry import REFUSED, until_taken
from gateway.errors import AgentError, AgentNotFound, Exhausted, GatewayError, Unavailable

#: messages of a session that a backend may read back
HISTORY = 500
#: seconds that a backend gets to end a turn that is over or was cut short
CLOSING = 5.0
#: seconds between tries to begin a turn for which the machine has no room
SCARCE = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: characters of an error that are kept
ERROR = 2000

#: has people answer what an attempt asks to be allowed, within so many seconds
Ask = Callable[[Run, Wanted, float], Awaitable[Answer]]

_log = log.get()


class Cut(Enum):
    """Why an attempt is cut short from outside."""

    CANCEL = "cancelled"
    STOP = "the gateway stopped"
    DISK = "the disk refused"
    FENCED = "fenced"


class Attempt:
    """One try to execute a run, and the handle to interrupt it."""

    #: executes the attempt; the worker sets it
    task: asyncio.Task[None]

    def __init__(self, run: Run) -> None:
        self.run = run
        #: of a goal: the round that it is in, and whether it was reached
        self.rounds: int | None = None
        self.done: bool | None = None
        self._cut: asyncio.Future[Cut] = asyncio.get_running_loop().create_future()

    def cut(self, why: Cut) -> None:
        """Ask the attempt to end now; the first reason counts."""
        if not self._cut.done():
            self._cut.set_result(why)

    async def wait_cut(self) -> Cut:
        return await asyncio.shield(self._cut)

    @property
    def agent(self) -> str:
        """The id of the run's agent."""
        return self.run.spec.agent

    @property
    def why(self) -> Cut | None:
        return self._cut.result() if self._cut.done() else None


class Executor:
    """Executes attempts. Holds what all of them need."""

    def __init__(
        self,
        store: Store,
        agents: Callable[[str], Agent | None],
        backends: Mapping[str, Backend],
        ask: Ask,
        *,
        workspaces: Path,
        outputs: Path,
        output_limit: int,
    ) -> None:
        self._store = store
        self._agents = agents
        self._backends = backends
        self._ask = ask
        self._workspaces = workspaces
        self._outputs = outputs
        self._output_limit = output_limit

    async def execute(self, attempt: Attempt) -> None:
        """Work on a claimed run until its end, or its return to the queue, is on disk."""
        run = attempt.run
        with log.bound(run=run.id, agent=run.spec.agent, attempt=run.attempt):
            recorder = Recorder(
                self._store,
                run,
                backend=self._backend_name(run),
                outputs=self._outputs,
                limit=self._output_limit,
                fenced=lambda: attempt.cut(Cut.FENCED),
            )
            verdict = await self._perform(attempt, recorder)
            try:
                await self._settle(attempt, recorder, verdict)
            except Exception:  # a run that stayed in `running` would hold its session for ever
                _log.exception("run.end_broke")
                await self._finish(run, _failed("the gateway broke while it wrote down the end."), [])

    # --- prepare ----------------------------------------------------------------------------

    async def _prepare(self, attempt: Attempt, recorder: Recorder) -> tuple[Backend, Turn]:
        run, number = attempt.run, attempt.rounds or 1
        agent = self._agents(run.spec.agent)
        if agent is None:
            raise AgentNotFound(f"the agent {run.spec.agent!r} is no longer configured.")
        session = await self._store.sessions.find(run.spec.session)
        kind, _, ref = ((session and session.backend_ref) or "").partition(":")
        return self._backends[agent.backend], Turn(
            run=run.id,
            attempt=run.attempt,
            agent=agent,
            input=run.spec.prompt(number),
            depth=run.spec.depth,
            model=run.spec.model or agent.model,
            session=run.spec.session,
            session_ref=ref if kind == agent.backend else None,
            workspace=str(self._workspace(agent, run.spec.session)),
            history=lambda: self._store.sessions.read_history(run.spec.session, HISTORY),
            ask=lambda wanted: self._permit(attempt, recorder, agent, wanted),
        )

    def _backend_name(self, run: Run) -> str:
        agent = self._agents(run.spec.agent)
        return agent.backend if agent else ""

    def _workspace(self, agent: Agent, session: str) -> Path:
        if agent.workspace is not None:
            given = Path(agent.workspace).expanduser().absolute()
            if not given.is_dir():
                raise AgentError(f"the agent's workspace {given} is no directory.", remedy="Create it, or change it.")
            return given
        own = self._workspaces / hashlib.sha256(session.encode()).hexdigest()[:32]
        try:
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable(f"cannot make the workspace {own}: {error.strerror}.") from error
        return own

    # --- perform ----------------------------------------------------------------------------

    async def _perform(self, attempt: Attempt, recorder: Recorder) -> Verdict | None:
        """Drive the backend; return how it ended, or None if it was cut short from outside."""
        try:
            finished = await self._drive(attempt, recorder)
        except AgentError as error:
            return _failed(str(error))
        except REFUSED as error:  # it is not the agent that failed
            _log.warning("run.disk_refuses", error=str(error))
            attempt.cut(Cut.DISK)
            return None
        except GatewayError as error:
            return _failed(f"cannot run the agent: {error}")
        except Fenced:
            attempt.cut(Cut.FENCED)
            return None
        except Exception as error:
            _log.exception("run.backend_broke")
            return _failed(f"the backend broke: {type(error).__name__}: {error}")
        if finished:
            return Verdict(move=Move.SUCCEED, outcome=Outcome.COMPLETED, result=recorder.reply)
        if attempt.why is None:
            seconds = self._timeout(attempt.run)
            return Verdict(
                move=Move.FAIL, outcome=Outcome.TIMEOUT, error=f"the agent did not finish within {seconds:g} s."
            )
        return None

    async def _drive(self, attempt: Attempt, recorder: Recorder) -> bool:
        """Run the turn to its end, its deadline, or a cut; tell whether it finished."""

        work = self._reach if attempt.run.spec.mode is Mode.GOAL else self._turn
        driving = asyncio.create_task(work(attempt, recorder), name=f"turn-{attempt.run.id}")
        cut = asyncio.create_task(attempt.wait_cut())
        try:
            ended, _ = await asyncio.wait(
                {driving, cut}, timeout=self._timeout(attempt.run), return_when=asyncio.FIRST_COMPLETED
            )
            if driving not in ended:
                return False
            if driving.cancelled():  # by the backend itself: nobody here has asked for it
                raise AgentError("the backend gave up its turn.")
            driving.result()
            return True
        finally:
            cut.cancel()
            await _end(driving)

    async def _turn(self, attempt: Attempt, recorder: Recorder) -> None:
        """Take a turn; one for which there is no room has not begun, and is tried again in its place."""
        for pause in SCARCE:
            try:
                return await self._take_turn(attempt, recorder)
            except Exhausted as error:
                _log.warning("run.no_room", error=error.message, again_in=pause)
                await recorder.hear(Log(level="warning", message=f"{error.message} Tried again in {pause:g} s."))
                await recorder.flush()
            await asyncio.sleep(pause)
        return await self._take_turn(attempt, recorder)

    async def _take_turn(self, attempt: Attempt, recorder: Recorder) -> None:
        backend, prepared = await self._prepare(attempt, recorder)
        async with aclosing(backend.prompt(prepared)) as stream:
            async for said in stream:
                await recorder.hear(said)

    async def _permit(self, attempt: Attempt, recorder: Recorder, agent: Agent, wanted: Wanted) -> Answer:
        """Answer a permission request by the agent's policy, which may be to ask people."""
        if agent.permissions is not Permissions.ASK:
            return Answer.ALLOW if agent.permissions is Permissions.ALLOW else Answer.DENY
        try:
            await recorder.flush()
            return await self._ask(attempt.run, wanted, agent.permission_timeout)
        except Fenced:
            attempt.cut(Cut.FENCED)
            return Answer.DENY

    async def _reach(self, attempt: Attempt, recorder: Recorder) -> None:
        """Ask round after round; what an attempt before this one got done is not asked again."""
        run = attempt.run
        attempt.rounds, attempt.done = (run.rounds or 0) + 1, False
        while True:
            await self._turn(attempt, recorder)
            attempt.done = goal.reached(recorder.reply)
            if attempt.done or attempt.rounds >= run.spec.max_rounds:
                return
            ended = Round(number=attempt.rounds, reply=recorder.reply, usage=recorder.usage)
            await self._keep(run, ended, await recorder.close())
            recorder.begin_again()
            attempt.rounds += 1

    async def _keep(self, run: Run, ended: Round, said: Sequence[Said]) -> None:
        await until_taken(lambda: self._store.runs.end_round(run.id, run.epoch, ended, said))

    def _timeout(self, run: Run) -> float:
        agent = self._agents(run.spec.agent)
        return run.spec.timeout or (agent.timeout if agent else 60.0)

    # --- settle -----------------------------------------------------------------------------

    async def _settle(self, attempt: Attempt, recorder: Recorder, verdict: Verdict | None) -> None:
        """Put the end, or the return to the queue, on disk."""
        run, said = attempt.run, await recorder.close()
        if verdict is None and attempt.why is Cut.CANCEL:
            verdict = Verdict(move=Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER, result=recorder.reply or None)
        if attempt.why is Cut.FENCED:
            _log.warning("run.fenced")
        elif verdict is not None:
            ended = {"usage": recorder.usage, "rounds": attempt.rounds, "done": attempt.done}
            await self._finish(run, msgspec.structs.replace(verdict, **ended), said)
        else:
            why = (attempt.why or Cut.STOP).value
            await _written(lambda: self._store.runs.requeue(run.id, run.epoch, why))

    async def _finish(self, run: Run, verdict: Verdict, said: Sequence[Said]) -> None:
        await _written(lambda: self._store.runs.finish(run.id, run.epoch, verdict, said))


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a turn and see it end; what it says in ending does not count any more."""
    task.cancel()
    _, pending = await asyncio.wait({task}, timeout=CLOSING)
    if pending:
        _log.error("run.backend_does_not_end", seconds=CLOSING)
    elif not task.cancelled() and task.exception() is not None:
        _log.debug("run.ended_with", error=str(task.exception()))


async def _written(settle: Callable[[], Awaitable[Run]]) -> None:
    try:
        ended = await until_taken(settle)
    except Fenced:
        _log.warning("run.fenced")
    else:
        _log.info("run.settled", status=ended.status, outcome=ended.outcome, error=ended.error)


def _failed(error: str) -> Verdict:
    # What a program says need not be Unicode, and need not be short.
    told = error[:ERROR].encode("utf-8", "replace").decode()
    return Verdict(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error=told)
