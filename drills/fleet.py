"""A fleet whose members are killed, stopped and cut off: each accepted task is done once, in its order."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drills import Figures, fleet_checks, network
from drills.fleet_members import AGENT_LIMIT, Chaos, Member, Members, running_fleet, wait_all_ready

#: threads that submit tasks
SUBMITTERS = 6
#: seconds that an answer may take before another gateway is asked
ANSWER_SECONDS = 4.0
#: seconds for which all work may take
WORK_SECONDS = 1800.0


class Submitter:
    """Submits tasks to whichever gateway answers, again and again until one has acknowledged them."""

    def __init__(
        self,
        members: Members,
        runs: int,
        sessions: int,
        seed: str = "moon",
        may_end: Callable[[], bool] = lambda: True,
    ) -> None:
        """Args:
        runs: how many tasks are submitted.
        may_end: until it holds, more are submitted.
        """
        self._members = members
        self._runs = runs
        self._sessions = sessions
        self._may_end = may_end
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._seed = seed
        self._given_up = threading.Event()
        self._threads = [threading.Thread(target=self._submit_all, args=(number,)) for number in range(SUBMITTERS)]
        #: ids of the acknowledged tasks, by their texts
        self.acknowledged: dict[str, str] = {}
        #: requests without an answer, or with one that asks to come again
        self.unanswered = 0
        self.refused = 0
        #: refusals that did not say when to come again
        self.without_retry_after = 0
        self.failures: list[BaseException] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Submit during the block; it waits for the end of all."""
        for thread in self._threads:
            thread.start()
        try:
            yield
            for thread in self._threads:
                thread.join()
        finally:
            self._given_up.set()
            for thread in self._threads:
                thread.join()
        assert self.failures == [], self.failures

    def _submit_all(self, number: int) -> None:
        dice = random.Random(f"{self._seed}{number}")  # noqa: S311 no secret
        try:
            while (task := self._next()) is not None and not self._given_up.is_set():
                text = f"t{task}"
                run = self._submit(text, f"s{task % self._sessions}", dice)
                with self._lock:
                    if run is not None:
                        self.acknowledged[text] = run
        except BaseException as error:
            self.failures.append(error)

    def _next(self) -> int | None:
        with self._lock:
            number = next(self._numbers)
        return None if number >= self._runs and self._may_end() else number

    def _submit(self, text: str, session: str, dice: random.Random) -> str | None:
        while not self._given_up.is_set():
            answer = self._ask(dice.choice(self._members.gateways), text, session)
            if answer is not None and answer.status == 202:
                return str(answer.body["task"]["id"])
            with self._lock:
                self.unanswered += answer is None
                if answer is not None:
                    assert answer.status == 503, answer
                    self.refused += 1
                    self.without_retry_after += "Retry-After" not in answer.headers
            time.sleep(0.05)
        return None

    def _ask(self, gateway: Member, text: str, session: str) -> Any:
        body = {"input": text, "session": session}
        try:
            return gateway.call("POST", "/api/tasks", body, headers={"Idempotency-Key": text}, timeout=ANSWER_SECONDS)
        except (OSError, http.client.HTTPException, AssertionError):  # its lock has no record while it starts
            return None


def members_fail(
    directory: Path,
    runs: int = 100,
    sessions: int = 40,
    workers: int = 2,
    to_the_end: bool = False,
) -> Figures:
    """Submit tasks to a fleet, while each two seconds something happens to a random member.

    Args:
        runs: how many tasks are submitted; more, until each thing has happened.
        to_the_end: whether that goes on until all runs have ended, not only until all tasks are accepted.
    """
    with running_fleet(directory, workers=workers) as members:
        chaos = Chaos(members)
        submitter = Submitter(members, runs, sessions, may_end=chaos.has_done_its_part)
        began = time.monotonic()
        with chaos.running():
            with submitter.running():
                pass
            accepted = time.monotonic() - began
            if to_the_end:
                wait_ended(members)
        assert chaos.list_missing_kinds() == [], chaos.counts
        wait_ended(members)
        wait_all_ready(members.all)
        took = time.monotonic() - began
        found = fleet_checks.judge(members.server, submitter.acknowledged, members.marks, AGENT_LIMIT)
        return {
            "network": "namespaces" if members.are_hosted else network.explain_impossible(),
            **chaos.counts,
            **found,
            "unanswered and repeated": submitter.unanswered,
            "refused and repeated": submitter.refused,
            "accepted after s": round(accepted, 1),
            "ended after s": round(took, 1),
        }


def wait_ended(members: Members) -> None:
    """Wait until no run is open; the clients have ended."""
    deadline = time.monotonic() + WORK_SECONDS
    while count := fleet_checks.count_open(members.server):
        assert time.monotonic() < deadline, f"{count} runs have not ended"
        time.sleep(0.5)
