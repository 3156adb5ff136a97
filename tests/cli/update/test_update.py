"""`gateway update` with real releases, each in an environment of its own, from an index on this machine."""

from __future__ import annotations

import json
import sqlite3

import pytest

from cli.update import journal
from harness.releases import Installed, Lab
from harness.waiting import until_sync
from tests.support.thorough import choose_cases

pytestmark = pytest.mark.slow

#: seconds that the other version is watched
WATCH = "2s"


def _ended(installed: Installed, task: str) -> str:
    """Return how a task has ended."""

    def look() -> str:
        answer = installed.call("GET", f"/api/tasks/{task}")
        assert answer.status == 200, answer
        return str(answer.body["task"]["status"])

    until_sync(lambda: look() not in ("queued", "running"), f"{task} has ended")
    return look()


def _schema(installed: Installed) -> int:
    with sqlite3.connect(installed.home / "data/moongate.db") as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def _leftovers(installed: Installed) -> set[str]:
    return {path.name for path in installed.environment.parent.iterdir()} - {"home", "venv", "venv.before-update"}


def _update(installed: Installed, version: str, *words: str):
    return installed.run("update", "--version", version, "--watch", WATCH, "--json", *words)


def test_an_update_replaces_the_gateway_and_a_rollback_puts_it_back(lab: Lab, installed: Installed) -> None:
    lab.add_release("0.3.0", "migrates")
    assert installed.run("start").code == 0
    before = installed.accept("before")
    schema = _schema(installed)
    done = _update(installed, "0.3.0")
    assert done.code == 0, done
    assert (done.json["from"], done.json["to"], done.json["replaced"]) == ("0.2.0", "0.3.0", True)
    assert installed.version == "0.3.0"
    assert (_ended(installed, before), _schema(installed)) == ("succeeded", schema + 1)
    assert _leftovers(installed) == set()

    after = installed.accept("after")
    _ended(installed, after)
    refused = installed.run("update", "--rollback", "--watch", WATCH, "--json")
    assert refused.code == 1
    assert "1 accepted task" in refused.json["error"]["message"]
    assert "--discard-work-since-update" in refused.json["error"]["message"]
    assert installed.version == "0.3.0"

    back = installed.run("update", "--rollback", "--discard-work-since-update", "--watch", WATCH, "--json")
    assert back.code == 0, back
    assert (installed.version, _schema(installed)) == ("0.2.0", schema)
    assert _ended(installed, before) == "succeeded"
    assert installed.call("GET", f"/api/tasks/{after}").status == 404
    with sqlite3.connect(installed.home / "data/moongate.db.of-0.3.0") as aside:
        assert aside.execute("SELECT count(*) FROM runs WHERE id = ?", (after,)).fetchone() == (1,)


#: faults that are found late, because nothing is tried before
LATE = ("--no-trial",)


#: what is wrong with a version: it is found before the exchange, after it was ready, or after it migrated
BAD_VERSIONS = choose_cases(
    [
        ("0.4.1", ["no import"], (), "does not start"),
        ("0.4.2", ["does not serve"], (), "does not serve with a copy of the database: it ended with exit code 1"),
        ("0.4.3", ["bad migration"], (), "it cannot migrate the database"),
        ("0.4.4", ["hangs"], LATE, "was not ready within"),
        ("0.4.5", ["crashes"], (), "serving processes ended"),
        ("0.4.6", ["no supervisor"], (), "ended while it was restarting"),
        ("0.4.3", ["bad migration"], LATE, "already exists"),
        ("0.4.7", ["migrates", "dies migrated"], LATE, "it ended with exit code 4"),
    ],
    on_each_push=(0, 4, 7),
)


@pytest.mark.parametrize(("version", "faults", "words", "why"), BAD_VERSIONS)
def test_a_version_that_does_not_serve_is_taken_back(
    lab: Lab, installed: Installed, version: str, faults: list[str], words: tuple[str, ...], why: str
) -> None:
    lab.add_release(version, *faults)
    if "hangs" in faults:
        installed.env["MOONGATE_READY_TIMEOUT"] = "20"
    assert installed.run("start").code == 0
    task = installed.accept("before")
    schema = _schema(installed)
    done = _update(installed, version, *words)
    assert done.code == 1, done
    assert why in done.json["error"]["message"], done
    assert (installed.version, _schema(installed)) == ("0.2.0", schema)
    assert _ended(installed, task) == "succeeded"
    assert installed.run("--version").out.split()[-1] == "0.2.0"
    assert (_leftovers(installed), journal.read_journal(installed.home)) == (set(), None)
    assert _ended(installed, installed.accept("afterwards")) == "succeeded"
    assert json.loads(installed.run("status", "--json").out)["running"]
