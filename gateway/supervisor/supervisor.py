"""One PID for the life of the gateway: keeps the lock, the socket and the log, and generations that serve.

A generation is a process that can be replaced while its successor already answers on the same
socket. Here is only what that takes: no event loop, no HTTP, no database.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.link import Message, Word
from gateway.supervisor import backoff, intent, respawn
from gateway.supervisor.configs import Configs
from gateway.supervisor.generation import BAD_CONFIG, READY_WITHIN, Generation, State
from gateway.supervisor.intent import Intent, Outcome
from gateway.supervisor.notify import Notifier
from gateway.supervisor.signals import Inbox

#: environment name under which a re-executed supervisor finds what it had
RESUME = "MOONGATE_RESUME"
#: seconds between looks at the clock: while something is under way, and otherwise
BUSY, CALM = 0.1, 1.0
#: seconds from the end of a grace to the kill
LAST_MOMENTS = 1.0
#: seconds that a generation may take to say that it has stepped down
YIELD_WITHIN = 5.0
#: seconds that a hung generation gets to write down where it hangs
DUMP = 1.0


class Limits(NamedTuple):
    """Times in seconds that the settings say."""

    stop_grace: float
    drain: float
    #: silence after which a generation counts as hung
    hang: float
    ready: float = READY_WITHIN


class Supervisor:
    """Runs until it is told to stop, and ends with an exit code."""

    def __init__(
        self,
        listener: socket.socket,
        limits: Limits,
        *,
        lock_path: Any,
        lock_descriptor: int,
        env: Mapping[str, str],
        write: Callable[[bytes], None],
        greet: Callable[[Mapping[str, Any]], None],
        notifier: Notifier,
        configs: Configs,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        """Args:
        listener: bound; generations inherit it.
        lock_path: the lock file; restarts are asked for and answered beside it.
        env: what generations get as their environment.
        write: takes finished log lines.
        greet: told what the first generation says when it is ready.
        configs: the config file now, and as it last worked.
        resumed: what a former self kept.
        """
        self._listener = listener
        self._limits = limits
        self._lock_path = lock_path
        self._lock_descriptor = lock_descriptor
        self._env = dict(env)
        self._write = write
        self._greet = greet
        self._notifier = notifier
        self._configs = configs
        self._inbox = Inbox()
        self._generations: list[Generation] = [Generation.adopt(kept) for kept in (resumed or {}).get("kept", ())]
        self._number: int = (resumed or {}).get("number", 0)
        self._intents: list[Intent] = [Intent(**kept) for kept in (resumed or {}).get("intents", ())]
        self._resumed = resumed is not None
        self._waiting: list[Intent] = []
        self._fallback: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._begin_at: float | None = time.monotonic()
        self._crashes = 0
        self._stopping = False
        self._graces = 0
        self._code: int | None = None
        self._proof = 0.0
        self._served = resumed is not None

    def run(self) -> int:
        """Keep a generation serving until told to stop; returns the exit code."""
        self._log("supervisor.started", pid=os.getpid(), resumed=self._resumed)
        while self._code is None:
            self._begin_what_is_due()
            self._wait()
            self._heed_signals()
            self._listen()
            self._bury_the_dead()
            self._keep_deadlines()
            self._prove_life()
        self._log("supervisor.ended", code=self._code)
        return self._code

    # --- the seven verbs --------------------------------------------------------------------

    def _begin_what_is_due(self) -> None:
        if self._begin_at is not None and time.monotonic() >= self._begin_at and not self._stopping:
            self._begin_at = None
            self._number += 1
            self._generations.append(Generation.start(self._number, self._listener, self._env | self._fallback))
            self._log("generation.started", generation=self._number, pid=self._generations[-1].pid)

    def _wait(self) -> None:
        """Sleep until something happens, or until it is time to look at the clock."""
        busy = self._begin_at is not None or any(one.state is not State.LEADING for one in self._generations)
        with selectors.DefaultSelector() as selector:
            selector.register(self._inbox, selectors.EVENT_READ)
            for one in self._generations:
                selector.register(one.log, selectors.EVENT_READ)
                selector.register(one.line.end, selectors.EVENT_READ)
            selector.select(BUSY if busy else min(CALM, self._notifier.interval or CALM))

    def _heed_signals(self) -> None:
        for number in self._inbox.take():
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    self._stop(number)
                case signal.SIGHUP:
                    self._restart([])
                case signal.SIGUSR1:
                    self._heed_restart()

    def _listen(self) -> None:
        for one in list(self._generations):
            one.read_log(self._write)
            for message in one.hear():
                self._heed(one, message)

    def _bury_the_dead(self) -> None:
        for one in list(self._generations):
            code = one.ended()
            if code is None:
                continue
            for message in one.hear():
                self._heed(one, message)
            one.read_log(self._write)
            one.close()
            self._generations.remove(one)
            self._log("generation.ended", generation=one.number, pid=one.pid, code=code, state=one.state.value)
            self._mourn(one, code)
        if self._stopping and not self._generations:
            self._code = 0

    def _keep_deadlines(self) -> None:
        now = time.monotonic()
        for one in self._generations:
            if one.deadline is not None and now > one.deadline:
                self._log("generation.killed", generation=one.number, state=one.state.value)
                one.kill()
                one.deadline = None
            elif one.state is State.STARTING and now - one.started > self._limits.ready and one.deadline is None:
                one.error = f"it was not ready within {self._limits.ready:g} s"
                one.deadline = now
            elif one.state is not State.STARTING and one.silent_for() > self._limits.hang and one.deadline is None:
                one.error = f"it hung: nothing was heard of it for {self._limits.hang:g} s"
                self._log("generation.hangs", generation=one.number, error=one.error)
                one.kill(signal.SIGUSR2)
                one.deadline = now + DUMP
        yielding = next((one for one in self._generations if one.state is State.YIELDING), None)
        if yielding is not None and yielding.silent_for() > YIELD_WITHIN:
            self._hand_over(yielding)

    def _prove_life(self) -> None:
        interval = self._notifier.interval
        if interval is not None and time.monotonic() - self._proof >= interval:
            self._proof = time.monotonic()
            self._notifier.tell(WATCHDOG=1)

    # --- what generations say ---------------------------------------------------------------

    def _heed(self, one: Generation, message: Message) -> None:
        match message.word:
            case Word.READY:
                self._ready(one, message.about)
            case Word.PASSIVE:
                self._hand_over(one)
            case Word.FAILED:
                one.error = str(message.about.get("error", ""))
            case Word.MIGRATION:
                self._make_way(one)
            case Word.RESTART_PLEASE:
                self._restart([Intent("", os.getpid(), time.time(), False, str(message.about.get("reason", "")))])
            case Word.STOP_PLEASE:
                self._stop(signal.SIGTERM)

    def _ready(self, one: Generation, about: Mapping[str, Any]) -> None:
        one.state = State.STANDBY
        if not self._served:
            self._greet(about)
        leader = self._leader
        if leader is None:
            self._crown(one)
        elif leader.state is State.LEADING:
            leader.step_down(self._limits.drain, LAST_MOMENTS + YIELD_WITHIN)

    def _hand_over(self, old: Generation) -> None:
        if old.state is State.YIELDING:
            old.state = State.DRAINING
        successor = next((one for one in self._generations if one.state is State.STANDBY), None)
        if successor is not None:
            self._crown(successor)

    def _make_way(self, one: Generation) -> None:
        """A migration waits: the old one ends first; connections wait in the socket's backlog."""
        leader = self._leader
        if leader is None:
            one.line.say(Word.LEAD)
        else:
            leader.stop(min(self._limits.stop_grace, 5.0), LAST_MOMENTS)

    def _crown(self, one: Generation) -> None:
        one.lead()
        one.line.say(Word.NOTE, **self._notes)
        self._served = True
        if not self._fallback:
            self._configs.keep()
        self._notifier.tell(READY=1, STATUS=f"generation {one.number} serves", MAINPID=os.getpid())
        self._log("generation.leads", generation=one.number)
        self._answer(ok=True, new=one.number)

    @property
    def _leader(self) -> Generation | None:
        return next((one for one in self._generations if one.state in (State.LEADING, State.YIELDING)), None)

    # --- deaths -----------------------------------------------------------------------------

    def _mourn(self, one: Generation, code: int) -> None:
        """Decide what a generation's end means."""
        if self._stopping or one.state is State.DRAINING:
            waiting = next((other for other in self._generations if other.state is State.STARTING), None)
            if waiting is not None and not self._stopping:
                waiting.line.say(Word.LEAD)  # it waited to migrate
            return
        if one.state is State.YIELDING:
            self._hand_over(one)
            return
        why = one.error or f"it ended with exit code {code}"
        if self._leader is not None:  # it was to replace the one that goes on
            self._answer(ok=False, new=one.number, error=why)
            return
        if not self._served and code == BAD_CONFIG:
            self._code = BAD_CONFIG
            return
        if code == BAD_CONFIG:
            self._fall_back(why)
        lasted = time.monotonic() - one.started
        self._crashes = 1 if lasted > backoff.STABLE else self._crashes + 1
        pause = backoff.delay(self._crashes)
        self._begin_at = time.monotonic() + pause
        self._log("generation.crashed", generation=one.number, code=code, error=why, next_in=round(pause, 2))

    def _fall_back(self, why: str) -> None:
        """Go on with the configuration that last worked."""
        good = self._configs.fall_back()
        if good is not None:
            self._fallback = {"MOONGATE_CONFIG": str(good)}
            self._note("config", f"not taken, the last good one is used: {why}")

    def _note(self, name: str, text: str) -> None:
        """Have `/health` tell people of something."""
        self._notes[name] = text
        if (leader := self._leader) is not None:
            leader.line.say(Word.NOTE, **self._notes)

    # --- restart and stop -------------------------------------------------------------------

    def _heed_restart(self) -> None:
        asked = intent.take(self._lock_path, os.getpid())
        if asked is None and not respawn.may_restart_by_signal(self._env):
            self._log("restart.ignored", reason="no intent was left for SIGUSR1, and it is not allowed alone")
            return
        self._restart([asked] if asked else [])

    def _restart(self, asked: list[Intent]) -> None:
        if self._stopping:
            return
        if any(one.state in (State.STARTING, State.STANDBY, State.YIELDING) for one in self._generations):
            self._waiting += asked or [Intent("", 0, 0.0, False, "signal")]  # one more, after this one
            return
        self._intents = asked
        hard = any(one.hard for one in asked)
        self._log("restart.begun", hard=hard, reason=", ".join(one.reason for one in asked) or "signal")
        self._notifier.tell(RELOADING=1)
        wrong = self._configs.wrong()
        if wrong is not None:
            self._answer(ok=False, new=self._number, error=wrong)
            self._note("config", f"not taken: {wrong}")
            return
        self._fallback = {}
        self._notes.pop("config", None)
        if respawn.plan(self._env, sys.platform, hard) is respawn.Plan.REEXEC and not self._resumed:
            self._become_new()
        self._resumed = False
        self._begin_at = time.monotonic()

    def _answer(self, *, ok: bool, new: int, error: str = "") -> None:
        """Tell those who asked how the restart went; then take up what was asked meanwhile."""
        leader = self._leader
        for asked in self._intents:
            if asked.id:
                old = leader.number if leader is not None and not ok else new - 1
                intent.answer(self._lock_path, Outcome(asked.id, ok, old, new, error))
        if not ok:
            self._log("restart.failed", error=error)
        self._intents = []
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._restart(waiting)

    def _become_new(self) -> None:
        """Re-execute in place: the same PID goes on with the same lock, sockets and generations."""
        kept = {
            "kept": [one.keep() for one in self._generations],
            "number": self._number,
            "intents": [msgspec.structs.asdict(one) for one in self._intents],
            "listener": self._listener.fileno(),
            "lock": self._lock_descriptor,
            "instance": self._env["MOONGATE_INSTANCE"],
        }
        for descriptor in (self._listener.fileno(), self._lock_descriptor):
            os.set_inheritable(descriptor, True)
        self._log("supervisor.re-executes")
        with contextlib.suppress(AttributeError):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        env = {**os.environ, **self._notifier.kept, RESUME: json.dumps(kept)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], env)  # noqa: S606 ourselves again

    def _stop(self, number: int) -> None:
        self._graces += 1
        said = intent.take_grace(self._lock_path, os.getpid())
        grace = (self._limits.stop_grace if said is None else said) if self._graces == 1 else 0.0
        self._log("supervisor.stopping", signal=signal.Signals(number).name, grace=grace)
        self._stopping = True
        self._begin_at = None
        self._notifier.tell(STOPPING=1)
        for one in self._generations:
            one.stop(grace, LAST_MOMENTS)

    def _log(self, event: str, **about: Any) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
        self._write(json.dumps({"time": stamp, "level": "info", "event": event, **about}).encode())
