"""The supervisor: one PID for the life of the gateway. It keeps the lock, the socket, the log and the generations.

A generation is a process that can be replaced while its successor already answers on the same
socket. The supervisor has no event loop, no HTTP and no database.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.control_channel import Message, MessageType
from gateway.errors import ConfigError, GatewayError
from gateway.supervisor import backoff, deadlines, intent, logfile, reexec, restart_plan
from gateway.supervisor.address import ListenAddress
from gateway.supervisor.config_history import ConfigHistory, ReadingPostponed
from gateway.supervisor.data_locks import DataLocks
from gateway.supervisor.deadlines import DeadlineWatch, TimeLimits
from gateway.supervisor.descriptor_reserve import DescriptorReserve
from gateway.supervisor.early_start import EarlyProcess
from gateway.supervisor.generation import BAD_CONFIG_EXIT_CODE, Generation, GenerationState
from gateway.supervisor.guard import StepGuard
from gateway.supervisor.intent import Intent, Outcome
from gateway.supervisor.lock import Lock
from gateway.supervisor.notify import Notifier
from gateway.supervisor.signals import SignalInbox

#: seconds between two checks of the clock: while a generation starts or ends, and otherwise
STARTING_POLL_SECONDS, CALM_POLL_SECONDS = 0.1, 1.0
#: what a restart is told after an exception that nobody foresaw
UNEXPECTED_FAILURE = "it failed unexpectedly; see: gateway logs --level error"


class Supervisor:
    """Keeps the gateway serving until it is asked to stop."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        held: Lock,
        env: Mapping[str, str],
        write: Callable[[bytes], None],
        greet: Callable[[Mapping[str, Any]], None],
        notifier: Notifier,
        configs: ConfigHistory,
        address: ListenAddress,
        data: DataLocks,
        early: EarlyProcess | None = None,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        """Args:
        listener: bound; generations inherit it; closed here.
        held: the lock of the config; restarts are asked for and answered next to its file.
        env: what generations get as their environment.
        write: takes finished log lines.
        greet: called with what the first generation says when it is ready.
        configs: the readings of the config file; the first generation starts with the one at this start.
        address: the address to listen on.
        data: the locks of the data directories.
        early: the process that the first generation uses.
        resumed: the state that the version before a re-execution kept.
        """
        self._listener = listener
        self._next: socket.socket | None = None
        self._address = address
        self._data, self._early = data, early
        self._held, self._env = held, dict(env)
        self._write, self._greet = write, greet
        self._notifier, self._configs = notifier, configs
        self._inbox = SignalInbox()
        before = resumed or {}
        self._generations = [Generation.from_kept(kept, self._log_event) for kept in before.get("kept", ())]
        self._number: int = before.get("number", 0)
        #: number of the generation that a restart replaces
        self._old: int = before.get("old", 0)
        self._intents: list[Intent] = []
        self._resumed = None if resumed is None else [Intent(**kept) for kept in resumed["intents"]]
        self._waiting: list[Intent] = []
        self._notes: dict[str, str] = {}
        self._begin_at: float | None = None
        self._watch, self._guard = DeadlineWatch(self._log_event), StepGuard(self._log_event)
        self._reserve = DescriptorReserve()
        self._restarting = self._stopping = False
        self._crashes = self._graces = 0
        self._code: int | None = None
        #: why the gateway could not start to serve (empty if it could), and why it ended
        self.failure = self.why = ""
        self._served = resumed is not None

    def run(self) -> int:
        """Keep a generation serving until asked to stop; return the exit code."""
        self._log_event("supervisor.started", pid=os.getpid(), resumed=self._resumed is not None)
        if self._resumed is not None:
            self._intents, self._restarting = self._resumed, True
            self._attempt_restart(self._schedule_successor)
        else:
            self._notifier.store_listener(self._listener, *self._address.configured)
        listen = [self._start_due_work, self._wait_for_events, self._handle_signals, self._read_generations]
        act = [self._reap_generations, self._enforce_deadlines, self._notifier.ping_watchdog]
        while self._code is None:
            if [step for step in (*listen, *act) if not self._guard.run_step(step)]:
                time.sleep(STARTING_POLL_SECONDS)  # it may fail again at once
        self._log_event("supervisor.ended", code=self._code)
        return self._code

    # --- the steps of the loop --------------------------------------------------------------

    def _start_due_work(self) -> None:
        if self._stopping:
            return
        if self._waiting and not self._is_changing:
            waiting, self._waiting = self._waiting, []
            self._request_restart(waiting)
        if self._begin_at is None and not any(one.state is not GenerationState.DRAINING for one in self._generations):
            self._begin_at = time.monotonic()  # in every case, a gateway must serve
        if self._begin_at is not None and time.monotonic() >= self._begin_at:
            self._begin_at = None
            if not self._guard.run_step(self._start_generation):
                self._schedule_after_crash(self._number, UNEXPECTED_FAILURE, 1.0)

    def _start_generation(self) -> None:
        self._number += 1
        listener = self._next or self._listener
        pinned = self._address.pin_to_environment(listener, moving=self._next is not None)
        env = self._env | self._configs.stand_in_variables | pinned
        try:
            reading = self._configs.take_reading(env)
        except ReadingPostponed as error:
            self._schedule_after_crash(self._number, str(error), 1.0)
            return
        except ConfigError as error:
            self._on_bad_config(self._number, str(error), 1.0)
            return
        try:
            self._data.lock_directory(reading.settings)
            one = Generation.start_process(self._number, listener, env, reading.sources, self._log_event, self._early)
        except (OSError, GatewayError) as error:  # no process or no descriptor is left, or another gateway has the data
            why = str(error) if isinstance(error, GatewayError) else f"it cannot be started: {error.strerror}"
            self._schedule_after_crash(self._number, why, 1.0)
            return
        self._generations.append(one)
        self._log_event("generation.started", generation=one.number, pid=one.pid)

    def _wait_for_events(self) -> None:
        """Sleep until something happens, or until the next check of the clock."""
        busy = self._begin_at is not None or any(one.state is not GenerationState.LEADING for one in self._generations)
        calm = min(CALM_POLL_SECONDS, self._notifier.interval or CALM_POLL_SECONDS)
        sources = [source for one in self._generations for source in one.open_sources]
        self._reserve.renew(calm=not busy)
        self._inbox.wait_with(sources, STARTING_POLL_SECONDS if busy else calm)

    def _handle_signals(self) -> None:
        stops = (signal.SIGTERM, signal.SIGINT)
        # Stop signals first: a restart may re-execute this process, and signals not yet handled would be lost.
        for number in sorted(self._inbox.take_signals(), key=lambda number: number not in stops):
            self._guard.run_step(self._handle_signal, number)

    def _handle_signal(self, number: signal.Signals) -> None:
        self._reserve.release()
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._stop_all(number)
            case signal.SIGHUP:
                self._request_restart([])
            case signal.SIGUSR1:
                self._handle_restart_signal()

    def _read_generations(self) -> None:
        for one in list(self._generations):
            self._guard.run_step(self._read_generation, one)

    def _read_generation(self, one: Generation) -> None:
        one.read_log(self._write)
        for message in one.receive_messages():
            self._guard.run_step(self._handle_message, one, message)

    def _reap_generations(self) -> None:
        for one in list(self._generations):
            if (code := one.reap_exit_code()) is not None:
                self._guard.run_step(self._read_generation, one)
                self._guard.run_step(one.flush_log, self._write)
                self._generations.remove(one)
                self._guard.run_step(one.close)
                about = {"generation": one.number, "pid": one.pid, "code": code, "state": one.state.value}
                self._log_event("generation.ended", **about)
                self._guard.run_step(self._on_exit, one, code)
        if self._stopping and not self._generations:
            self._code = 0

    def _enforce_deadlines(self) -> None:
        self._watch.enforce_deadlines(self._generations, self._limits)

    # --- what generations say ---------------------------------------------------------------

    def _handle_message(self, one: Generation, message: Message) -> None:
        match message.word:
            case MessageType.READY:
                self._on_ready(one, message.about)
            case MessageType.PASSIVE:
                self._hand_over(one)
            case MessageType.FAILED:
                one.error = str(message.about.get("error", ""))
                self._log_event("generation.failed", generation=one.number, error=one.error)
            case MessageType.MIGRATION:
                self._stop_others_for_migration(one)
            case MessageType.RESTART_PLEASE:
                self._request_restart(
                    [Intent("", os.getpid(), time.time(), False, str(message.about.get("reason", "")))]
                )
            case MessageType.STOP_PLEASE:
                self.why = self.why or "asked over HTTP"
                self._stop_all(signal.SIGTERM)

    def _on_ready(self, one: Generation, about: Mapping[str, Any]) -> None:
        if one.state is not GenerationState.STARTING or self._stopping:
            return
        one.stand_by()
        if not self._served:
            self._guard.run_step(self._greet, about)
        leader = self._current_leader
        if leader is None:
            self._promote_generation(one)
        else:
            leader.step_down(self._limits.drain, deadlines.YIELD_TIMEOUT_SECONDS, intent.join_reasons(self._intents))

    def _hand_over(self, old: Generation) -> None:
        if old.state is not GenerationState.YIELDING:
            return
        old.start_draining(self._limits.drain + deadlines.DRAIN_KILL_MARGIN_SECONDS)
        successor = next((one for one in self._generations if one.state is GenerationState.STANDBY), None)
        if successor is not None:
            self._promote_generation(successor)

    def _stop_others_for_migration(self, one: Generation) -> None:
        """End all other generations before a migration; connections wait in the socket's backlog."""
        one.migrates = True
        for other in self._generations:
            if other is not one:
                other.stop_within(deadlines.MIGRATION_GRACE_SECONDS, deadlines.DRAIN_KILL_MARGIN_SECONDS)
        self._let_migrate()

    def _let_migrate(self) -> None:
        if len(self._generations) == 1 and self._generations[0].migrates and not self._stopping:
            self._generations[0].line.send_message(MessageType.LEAD)

    def _promote_generation(self, one: Generation) -> None:
        one.start_leading()
        self._served = True
        if self._next is not None:
            self._listener.close()
            self._listener, self._next = self._next, None
            self._confirm_address()
        if self._configs.confirm_current():
            self._notes.clear()
        one.line.send_message(MessageType.NOTE, **self._notes)
        self._notifier.send_state(READY=1, STATUS=f"generation {one.number} serves", MAINPID=os.getpid())
        self._answer_restarts(ok=True, new=one.number)

    def _confirm_address(self) -> None:
        self._notifier.remove_listener(*self._address.configured)
        with contextlib.suppress(GatewayError, OSError):  # the disk is full
            self._address.confirm_move(self._listener)
        self._notifier.store_listener(self._listener, *self._address.configured)

    @property
    def _limits(self) -> TimeLimits:
        return TimeLimits.from_config(self._configs.current.settings)

    @property
    def _is_changing(self) -> bool:
        """Whether a restart, or a start, is under way."""
        states = (GenerationState.STARTING, GenerationState.STANDBY, GenerationState.YIELDING)
        return self._restarting or any(one.state in states for one in self._generations)

    @property
    def _current_leader(self) -> Generation | None:
        return next(
            (one for one in self._generations if one.state in (GenerationState.LEADING, GenerationState.YIELDING)), None
        )

    # --- exits ------------------------------------------------------------------------------

    def _on_exit(self, one: Generation, code: int) -> None:
        """Handle the end of a generation."""
        if self._stopping or one.state is GenerationState.DRAINING:
            self._let_migrate()
            return
        if one.state is GenerationState.YIELDING:
            self._hand_over(one)
            return
        why = one.error or f"it ended with exit code {code}"
        leader = self._current_leader
        if leader is not None and leader.state is GenerationState.LEADING:  # it was to be replaced, and goes on
            if code == BAD_CONFIG_EXIT_CODE:
                self._publish_note("config", f"not taken: {why}")
            self._answer_restarts(ok=False, new=one.number, error=why)
            return
        if one.state is GenerationState.LEADING and self._is_changing:  # its successor will lead
            self._log_event("generation.crashed", generation=one.number, error=why)
            return
        lasted = time.monotonic() - one.started
        if code == BAD_CONFIG_EXIT_CODE:
            self._on_bad_config(one.number, why, lasted)
        else:
            self._schedule_after_crash(one.number, why, lasted)

    def _schedule_after_crash(self, number: int, why: str, lasted: float) -> None:
        """Schedule the next start, at once or after a backoff; a restart that is under way has failed."""
        self._crashes = 1 if lasted > backoff.STABLE_AFTER_SECONDS else self._crashes + 1
        pause = backoff.restart_delay(self._crashes)
        self._log_event("generation.crashed", generation=number, error=why, next_in=round(pause, 2))
        if self._restarting:
            self._answer_restarts(ok=False, new=number, error=why)
        if self._begin_at is None:
            self._begin_at = time.monotonic() + pause

    def _on_bad_config(self, number: int, why: str, lasted: float) -> None:
        """Go on with the configuration that last worked; at the first start, end instead."""
        if not self._served:
            self._code, self.failure, self.why = BAD_CONFIG_EXIT_CODE, why, why
            return
        self._configs.fall_back()
        self._publish_note("config", f"not taken, the last good one is used: {why}")
        self._schedule_after_crash(number, why, lasted)

    def _publish_note(self, name: str, text: str) -> None:
        """Show a note in `/health`."""
        self._notes[name] = text
        if (leader := self._current_leader) is not None:
            leader.line.send_message(MessageType.NOTE, **self._notes)

    # --- restart and stop -------------------------------------------------------------------

    def _handle_restart_signal(self) -> None:
        asked = intent.take_intents(self._held.path, os.getpid())
        if not asked and not restart_plan.may_restart_by_signal(self._env):
            why = "SIGUSR1 came without an intent, and it may not restart by itself"
            self._log_event("restart.ignored", reason=why)
            return
        self._request_restart(asked)

    def _request_restart(self, asked: list[Intent]) -> None:
        if self._stopping:
            return
        if self._is_changing:
            # One more restart after this one answers all requests that come meanwhile.
            asked = asked or [Intent("", 0, 0.0, False, "signal")]
            self._waiting += [one for one in asked if one.id or not self._waiting]
            return
        self._intents = asked
        self._restarting = True
        self._old = leader.number if (leader := self._current_leader) is not None else self._number
        hard = any(one.hard for one in asked)
        self._log_event("restart.begun", hard=hard, reason=intent.join_reasons(asked) or "signal")
        self._notifier.send_state(RELOADING=1)
        plan = restart_plan.choose_plan(self._env, sys.platform, hard)
        step = self._replace_supervisor if plan is restart_plan.RestartPlan.REEXEC else self._schedule_successor
        self._attempt_restart(step)

    def _attempt_restart(self, step: Callable[[], None]) -> None:
        if not self._guard.run_step(step):
            self._answer_restarts(ok=False, new=self._number, error=UNEXPECTED_FAILURE)

    def _replace_supervisor(self) -> None:
        wrong = restart_plan.rehearse_start(os.environ) or self._reexec()
        self._publish_note("supervisor", f"not replaced: {wrong}")
        self._answer_restarts(ok=False, new=self._number, error=wrong)

    def _schedule_successor(self) -> None:
        """Read the config and schedule the next generation; if it cannot be used, answer the restart as failed."""
        try:
            reading = self._configs.take_reading(os.environ)
        except ConfigError as error:
            self._publish_note("config", f"not taken: {error}")
            self._answer_restarts(ok=False, new=self._number, error=str(error))
            return
        wanted = reading.settings.gateway
        try:
            self._data.lock_directory(reading.settings)
            with reading.settings.name_origins():
                self._next = self._address.bind_if_changed(self._listener, wanted.host, wanted.port)
        except GatewayError as error:
            self._answer_restarts(ok=False, new=self._number, error=str(error))
            return
        self._configs.prepare_restart(reading)
        self._begin_at = time.monotonic()

    def _answer_restarts(self, *, ok: bool, new: int, error: str = "") -> None:
        """Write the outcome for each request for this restart."""
        leads = next((one.number for one in self._generations if one.state is GenerationState.LEADING), 0)
        for asked in self._intents:
            with contextlib.suppress(OSError):
                intent.write_outcome(self._held.path, Outcome(asked.id, ok, self._old, new, error, leads))
        if not ok:
            self._log_event("restart.failed", error=error)
            self._notifier.send_state(READY=1, STATUS=f"restart failed: {error}"[:200].replace("\n", " "))
            self._configs.revert_to_confirmed()
            if self._next is not None:
                self._next.close()
                self._next = None
        self._intents, self._restarting = [], False

    def _reexec(self) -> str:
        """Re-execute in place: the same PID continues with the same lock, sockets and generations.

        Returns:
            What was wrong; if nothing was, it does not return.
        """
        kept: dict[str, Any] = {
            "kept": [one.keep_for_reexec() for one in self._generations],
            "number": self._number,
            "intents": [msgspec.structs.asdict(one) for one in self._intents],
            "listener": self._listener.fileno(),
            "lock": self._held.descriptor,
            "data": self._data.make_inheritable(),
            "instance": self._env["MOONGATE_INSTANCE"],
            "address": self._address.configured,
            "old": self._old,
        }
        self._log_event("supervisor.re-executes")
        env = {**os.environ, **self._notifier.kept}
        return reexec.reexec_in_place(kept, (kept["listener"], kept["lock"]), self._inbox, env)

    def _stop_all(self, number: int) -> None:
        self._graces += 1
        said = intent.take_grace(self._held.path, os.getpid())
        grace = (self._limits.stop_grace if said is None else said) if self._graces == 1 else 0.0
        self._log_event("supervisor.stopping", signal=signal.Signals(number).name, grace=grace)
        self._stopping = True
        self.why = self.why or signal.Signals(number).name
        self._begin_at = None
        self._notifier.send_state(STOPPING=1)
        self._notifier.remove_listener(*self._address.configured)
        for listener in (self._listener, self._next):
            if listener is not None:
                listener.close()
        for one in self._generations:
            one.stop_within(grace, deadlines.KILL_MARGIN_SECONDS, self.why)

    def _log_event(self, event: str, **about: Any) -> None:
        self._write(logfile.encode_event(event, about))
