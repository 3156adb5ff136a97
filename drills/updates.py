"""Updates and rollbacks under load: what a gateway has accepted is there afterwards, once, whichever version serves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from drills import Figures, client
from harness import releases
from harness.releases import Installed, Lab


class Turn(NamedTuple):
    """One command, and the version that serves after it."""

    version: str | None
    faults: Sequence[str]
    #: None for the one that served before
    serves: str | None
    code: int

    @property
    def words(self) -> list[str]:
        return ["--rollback"] if self.version is None else ["--version", self.version, "--no-trial"]


#: the first version is 0.2.0; what fails is found late, because nothing is tried before
ROUND = (
    Turn("0.3.0", [], "0.3.0", 0),
    Turn(None, [], "0.2.0", 0),
    Turn("0.3.1", ["does not serve"], None, 1),
    Turn("0.3.2", ["crashes"], None, 1),
    Turn("0.3.3", ["bad migration"], None, 1),
    Turn("0.3.4", ["migrates", "dies migrated"], None, 1),
)


def under_load(directory: Path, turns: Sequence[int] = (0, 1, 5), senders: int = 3) -> Figures:
    """Run commands of `ROUND`, by their places in it, while clients send tasks and repeat what was not acknowledged."""
    lab = Lab(_made(directory / "lab"))
    config = {"agents": {"list": [{"id": "main", "backend": "echo", "script": True, "max_concurrent": 8}]}}
    with releases.serve_index(lab.index) as env:
        installed = Installed(lab, _made(directory / "site"), env, config)
        installed.env["MOONGATE_READY_TIMEOUT"] = "20"
        load = _Load(installed, senders)
        try:
            assert installed.run("start").code == 0
            load.start()
            for turn in (ROUND[place] for place in turns):
                if turn.version is not None:
                    lab.add_release(turn.version, *turn.faults)
                before = installed.version
                assert before is not None, turn
                done = installed.run("update", *turn.words, "--watch", "2s")
                assert done.code == turn.code, (turn, done)
                assert installed.version == (turn.serves or before), (turn, done)
                acknowledged = len(load.acknowledged)
                client.until(lambda at=acknowledged: len(load.acknowledged) > at, "a task is acknowledged after it")
            load.stop()
            client.wait_idle(installed)
            installed.run("stop")
            ended = dict(installed.rows("SELECT id, status FROM runs"))
            counted = installed.rows("SELECT count(*), count(DISTINCT id), sum(status = 'succeeded') FROM runs")
        finally:
            load.stop()
            installed.close()
    lost = [task for task in load.acknowledged.values() if ended.get(task) != "succeeded"]
    assert lost == [], f"{len(lost)} of {len(load.acknowledged)}"
    accepted = len(load.acknowledged)
    assert accepted > 0
    assert tuple(counted[0]) == (accepted, accepted, accepted), (counted, accepted)
    return {"commands": len(turns), "acknowledged": accepted, "lost": 0, "twice": 0, "sent again": load.repeated}


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


class _Load:
    """Clients that send tasks, each with a key, and repeat one until it is acknowledged."""

    def __init__(self, installed: Installed, senders: int) -> None:
        self._installed = installed
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=[number]) for number in range(senders)]
        #: ids of tasks by their keys
        self.acknowledged: dict[str, str] = {}
        self.repeated = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _send(self, sender: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            client.until(lambda key=f"{sender}-{number}": self._is_acknowledged(key), "a task is acknowledged")
            self._over.wait(0.1)

    def _is_acknowledged(self, key: str) -> bool:
        """Send a task, and return whether it was acknowledged."""
        answer = client.try_task(self._installed, f"@@ say {key}", key)
        if answer is None or answer.status != 202:
            self.repeated += 1
            return False
        self.acknowledged[key] = answer.body["task"]["id"]
        return True
