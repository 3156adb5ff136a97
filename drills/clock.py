"""The machine's clock is set forward and back: by an hour, by years, over the changes of daylight saving time.

The gateway's processes run with libfaketime, which reads the time that they see from a file.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from drills import Figures, ProgramMissing, client
from harness.live_gateway import Live
from harness.webhook_receiver import Receiver, receiving_elsewhere


class Step(NamedTuple):
    """A moment that the clock is set to, and the times that must fire then, and no others."""

    moment: str
    once: Sequence[str] = ()
    all: Sequence[str] = ()
    berlin: Sequence[str] = ()


#: Half past: a slow machine has half an hour until the next time comes by itself. `once` and `all` fire every hour,
#: and `all` catches up on six hours; `berlin` fires at 2:15 there: in spring that time is skipped, and it fires at
#: 3:00; in autumn the time comes twice.
BEGIN = "2027-03-27T12:30"
STEPS = [
    Step("2027-03-27T13:30", once=["2027-03-27T13:00"], all=["2027-03-27T13:00"]),
    Step("2027-03-27T12:30"),
    Step("2027-03-27T15:30", once=["2027-03-27T15:00"], all=["2027-03-27T14:00", "2027-03-27T15:00"]),
    Step("2027-03-28T00:30", once=["2027-03-28T00:00"], all=[*(f"2027-03-27T{h}:00" for h in range(19, 24)),
                                                            "2027-03-28T00:00"]),
    Step("2027-03-28T01:30", once=["2027-03-28T01:00"], all=["2027-03-28T01:00"], berlin=["2027-03-28T01:00"]),
    Step("2027-03-27T15:30"),
    Step("2027-10-31T00:30", once=["2027-10-31T00:00"], all=[*(f"2027-10-30T{h}:00" for h in range(19, 24)),
                                                            "2027-10-31T00:00"], berlin=["2027-10-31T00:15"]),
    Step("2027-10-31T01:30", once=["2027-10-31T01:00"], all=["2027-10-31T01:00"]),
    Step("2037-10-31T01:30", once=["2037-10-31T01:00"], all=[*(f"2037-10-30T{h}:00" for h in range(20, 24)),
                                                            "2037-10-31T00:00", "2037-10-31T01:00"],
         berlin=["2037-10-31T01:15"]),
]  # fmt: skip
#: then the clock goes back by twenty years, and then to the last step again
EARLY = "2017-10-31T01:30"
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "skip": {"schedule": "0 * * * *", "misfire": "skip"},
    "once": {"schedule": "0 * * * *", "misfire": "once"},
    "all": {"schedule": "0 * * * *", "misfire": "all", "max_age": 6 * 3600},
    "berlin": {"schedule": "15 2 * * *", "timezone": "Europe/Berlin"},
}


def is_moved(directory: Path, more: int = 0, seed: str = "moon") -> Figures:
    """Set the clock forward and back, and check what fires.

    Args:
        more: how many times the clock is set to a random moment within twenty years, after all steps.
    """
    clock = _Clock(directory)
    clock.set(_read(BEGIN))
    agent = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 8}
    settings = {"agents": {"list": [agent]}, "webhooks": {"schedule": [0.0] + [3600.0] * 5}}
    live = Live(directory / "home", settings, env=clock.env)
    with receiving_elsewhere() as elsewhere:
        try:
            live.start()
            schedules = _Schedules(live)
            schedules.notice_by_itself(clock)
            slow = client.accepted(live, "@@ sleep 5\n@@ say slept")
            for step in STEPS[1:]:
                clock.set(_read(step.moment))
                schedules.see(step)
            _go_far_back(live, clock, elsewhere.receiver)
            schedules.see(Step(EARLY))
            assert live.stop() == 0
            live.start()
            schedules.see(Step(EARLY))
            clock.set(_read(STEPS[-1].moment))
            schedules.see(Step(STEPS[-1].moment))
            for moment in _moments(more, seed):
                clock.set(moment)
                schedules.look()
            client.wait_idle(live)
            assert client.show(live, slow)["result"] == "slept"
            assert live.logged("scheduler.broke") == []
            assert live.stop() == 0
        finally:
            live.close()
    return {"moves": len(STEPS) + 2 + more, **_judge(live.home / "data" / "moongate.db")}


def _go_far_back(live: Live, clock: _Clock, receiver: Receiver) -> None:
    """Set the clock back while a delivery waits: it must not wait until its moment comes again."""
    receiver.script.append("500")
    waiting = client.accepted(live, "@@ say first", webhook=receiver.url)
    client.until(lambda: receiver.requests and _status(live, waiting) == "pending", "it waits")
    clock.set(_read(EARLY))
    client.accepted(live, "@@ say second", webhook=receiver.url)
    client.until(lambda: _status(live, waiting) == "delivered", "it is delivered")


def _moments(count: int, seed: str) -> list[float]:
    dice = random.Random(seed)  # noqa: S311 not a secret
    return [dice.uniform(_read(EARLY), _read(STEPS[-1].moment)) for _ in range(count)]


def _status(live: Live, task: str) -> str:
    """Return the status of the delivery about a task's end."""
    found = live.call("GET", f"/api/tasks/{task}").body["deliveries"]
    return str(found[0]["status"]) if found else ""


class _Schedules:
    """The drill's schedules, and their fires."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._ids = {name: self._made(fields) for name, fields in POLICIES.items()}
        self._fired: dict[str, list[str]] = {name: [] for name in POLICIES}

    def notice_by_itself(self, clock: _Clock) -> None:
        """Take the first step; the gateway must notice it by itself."""
        clock.set(_read(STEPS[0].moment))
        client.until(lambda: self._found("once"), "it is noticed that the clock was set forward", pace=0.2)
        self.see(STEPS[0])

    def see(self, step: Step) -> None:
        """Check that exactly the times of the step have fired."""
        self.look()
        for name, expected in (("skip", []), ("once", step.once), ("all", step.all), ("berlin", step.berlin)):
            self._fired[name] += expected
            found = self._found(name)
            assert found == sorted(self._fired[name]), (step.moment, name, found[-10:], expected)

    def look(self) -> None:
        """Wait until the gateway has checked for due schedules: a schedule that is created now has fired."""
        before = len(self._found("once"))
        marker = self._made({"schedule": "every 1s"})
        client.until(lambda: self._fires(marker), "the marker fires", pace=0.2)
        assert self._live.call("DELETE", f"/api/cron/{marker}").status == 200
        assert len(self._found("once")) <= before + 1, "it caught up on more than one time"

    def _made(self, fields: Mapping[str, Any]) -> str:
        body = {"name": "drill", "prompt": "Hello", "fresh": True, **fields}
        answer = self._live.call("POST", "/api/cron/create", body)
        assert answer.status == 200, answer
        return str(answer.body["job"]["id"])

    def _found(self, name: str) -> list[str]:
        fires = self._fires(self._ids[name])
        return sorted(fire["scheduled_for"][: len(BEGIN)] for fire in fires if fire["outcome"] == "fired")

    def _fires(self, id_: str) -> list[dict[str, Any]]:
        answer = self._live.call("GET", f"/api/cron/{id_}/runs?limit=500")
        assert answer.status == 200, answer
        return list(answer.body["runs"])


def _judge(database: Path) -> Figures:
    """Check that no time became two runs: each run has its own session, named after its schedule and time."""
    sessions = [str(session) for (session,) in client.rows(database, "SELECT session FROM runs WHERE source = 'cron'")]
    assert len(sessions) == len(set(sessions)), "a time has become two runs"
    assert client.rows(database, "PRAGMA integrity_check") == [("ok",)]
    return {"runs": len(sessions), "twice": 0}


class _Clock:
    """The clock that the gateway's processes see."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.env = _environment(self._file)

    def set(self, moment: float) -> None:
        """Set it to a moment, in seconds since 1970 UTC."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{moment - time.time():+.3f}\n")
        draft.replace(self._file)  # so that no process reads it half written


def _environment(file: Path) -> dict[str, str]:
    """Return an environment in which a program reads the wall clock from a file; the monotonic clock is unchanged."""
    if shutil.which("faketime") is None:
        raise ProgramMissing("faketime is not installed")
    shown = subprocess.run(["faketime", "-m", "-f", "+0", "env"], capture_output=True, text=True, check=True).stdout
    preload = next(line for line in shown.splitlines() if line.startswith("LD_PRELOAD="))
    return {
        "LD_PRELOAD": preload.partition("=")[2],
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else a wait for another thread's lock returns at once, again and again
        "NO_FAKE_STAT": "1",
    }


def _read(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
