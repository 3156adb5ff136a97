"""The way back, with real databases and files; only the processes of the gateway are not real here."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import gateway
from cli import output
from cli.instance import Instance
from cli.update import driver, environment, journal, kept_environment, recovery, rollback, serving
from cli.update.database import Database
from cli.update.installation import Installation, Kind
from cli.update.job import Job, Result
from cli.update.journal import Journal, LastUpdate, Run, Step
from cli.update.serving import Replaced
from gateway import paths
from gateway.errors import Conflict, GatewayError
from gateway.process.own_environment import identify_directory
from gateway.supervisor import lock

CONTENT = gzip.decompress((Path(__file__).parent.parent.parent / "data/databases/0.1.0.db.gz").read_bytes())
OLD, NEW = 13, 14


class Machine:
    """An installation after `exchange` of a rollback, whose newer database has one task more than its copy."""

    def __init__(self, place: Path) -> None:
        self.home = place / "home"
        self.instance = Instance(
            self.home, self.home / "config.json", {"HOME": str(place), "MOONGATE_HOME": str(self.home)}
        )
        self.site = Installation(Kind.VENV, place / "venv", place / "venv/lib")
        self.database = Database(self.home / "data/moongate.db")
        self.database.path.parent.mkdir(parents=True)
        for path in (self.database.path, self.database.copy_of(OLD)):
            path.write_bytes(CONTENT)
        _run(self.database.path, _ONE_MORE, f"PRAGMA user_version = {NEW}")
        for version, name in (("0.3.0", "venv"), ("0.2.0", "venv.update"), ("0.3.0", "venv.before-update")):
            (place / name).mkdir()
            (place / name / "version").write_text(version)
        self.before = identify_directory(self.site.environment)
        #: what the fake gateway did
        self.calls: list[str] = []
        #: versions that do not start, and what one does to its database when it serves
        self.broken: set[str] = set()
        self.while_serving: Callable[[], None] = lambda: None

    def journal(self, **more: object) -> Journal:
        present = Journal(
            step=Step.EXCHANGE,
            environment=str(self.site.environment),
            identity=self.before,
            from_version="0.3.0",
            to_version="0.2.0",
            began=1,
            run=Run(by_service=False, ready=True),
            schema=NEW,
            restore_schema=OLD,
            discard=True,
            rollback=True,
        )
        return msgspec.structs.replace(present, **more)

    @property
    def version(self) -> str:
        return (self.site.environment / "version").read_text()

    def complete(self, present: Journal) -> Result:
        environment.exchange(self.site, present)
        journal.write_journal(self.home, present)
        with output.show_waiting("") as told:
            return driver.complete(Job(self.instance, self.site, present.to_version, told, 0.0), present)

    def recover(self) -> Result | None:
        with output.show_waiting("") as told:
            return recovery.recover(self.instance, self.site, told, 0.0)

    def start(self, *_: object) -> None:
        self.calls.append(f"start {self.version}")
        if self.version in self.broken:
            raise GatewayError("it does not start.")
        self.while_serving()

    def count_runs(self, file: Path) -> int:
        with contextlib.closing(sqlite3.connect(file)) as opened:
            return int(opened.execute("SELECT count(*) FROM runs WHERE id LIKE 'new%'").fetchone()[0])


def _new_run(name: str) -> str:
    with contextlib.closing(sqlite3.connect(":memory:")) as memory:
        memory.deserialize(CONTENT)
        names = [row[1] for row in memory.execute("PRAGMA table_info(runs)") if row[1] not in ("seq", "id")]
    values = ", ".join({"ready": "0", "status": "'held'"}.get(one, one) for one in names)
    return f"INSERT INTO runs (id, {', '.join(names)}) SELECT '{name}', {values} FROM runs WHERE seq = 1"


def _run(file: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(file)) as opened, opened:
        for statement in statements:
            opened.execute(statement)


_ONE_MORE = _new_run("new")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    paths.make_private_directory(paths.locks_directory(made.home))
    monkeypatch.setattr(serving, "stop_gateway", lambda *_, **__: made.calls.append("stop"))
    monkeypatch.setattr(serving, "start_gateway", made.start)
    monkeypatch.setattr(serving, "is_serving", lambda *_: False)
    monkeypatch.setattr(serving, "is_running", lambda *_: False)
    monkeypatch.setattr(serving, "replace_gateway", lambda *_: Replaced("it does not run"))
    monkeypatch.setattr(serving, "watch_gateway", lambda *_, **__: "")
    monkeypatch.setattr(serving, "rewrite_unit", lambda *_: ())
    return made


def test_a_rollback_names_the_database_that_it_keeps(machine: Machine) -> None:
    done = machine.complete(machine.journal())
    aside = machine.database.path.with_name("moongate.db.of-0.3.0")
    assert str(aside) in done.notes[0]
    assert (machine.count_runs(machine.database.path), machine.count_runs(aside), machine.version) == (0, 1, "0.2.0")


def test_a_rollback_that_does_not_start_gives_the_newer_version_its_database_back(machine: Machine) -> None:
    machine.broken = {"0.2.0"}
    with pytest.raises(GatewayError, match=r"0\.2\.0 does not serve: it does not start\..*0\.3\.0 serves again"):
        machine.complete(machine.journal())
    assert machine.calls == ["stop", "start 0.2.0", "stop", "stop", "start 0.3.0"]
    assert (machine.count_runs(machine.database.path), machine.version) == (1, "0.3.0")
    assert machine.database.read_schema() == NEW
    assert machine.count_runs(machine.database.copy_of(OLD)) == 0  # so that it can be tried again
    assert sorted(path.name for path in machine.database.path.parent.iterdir()) == [
        "gateway.lock",
        "moongate.db",
        "moongate.db.schema-13",
    ]
    assert journal.read_journal(machine.home) is None


def test_what_the_older_version_accepted_before_it_failed_is_kept_and_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.while_serving = lambda: (
        _run(machine.database.path, _new_run("new-2")) if machine.version == "0.2.0" else None
    )
    monkeypatch.setattr(serving, "watch_gateway", lambda *_, **__: "it ended")
    with pytest.raises(
        GatewayError, match=r"1 task that version 0\.2\.0 accepted meanwhile: .*moongate\.db\.of-0\.2\.0"
    ):
        machine.complete(machine.journal())
    assert machine.count_runs(machine.database.path) == 1
    assert machine.count_runs(machine.database.path.with_name("moongate.db.of-0.2.0")) == 1


@pytest.mark.parametrize("run", [None, Run(by_service=False, ready=True)])
def test_databases_that_cannot_be_exchanged_leave_the_newer_version_in_place(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, run: Run | None
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Database, "exchange", refuse)
    with pytest.raises(GatewayError, match="Input/output error"):
        machine.complete(machine.journal(run=run))
    assert (machine.version, machine.count_runs(machine.database.path)) == ("0.3.0", 1)
    assert ("start 0.3.0" in machine.calls) == (run is not None)
    assert journal.read_journal(machine.home) is None


def test_a_gateway_that_was_started_meanwhile_keeps_its_database(machine: Machine) -> None:
    held = lock.acquire_lock(machine.instance.lock_file)
    try:
        with pytest.raises(GatewayError, match="a gateway was started meanwhile"):
            machine.complete(machine.journal(run=None))
    finally:
        held.release()
    assert (machine.version, machine.count_runs(machine.database.path)) == ("0.3.0", 1)


@pytest.mark.parametrize("step", ["before", "linked", "renamed", "after"])
def test_a_rollback_that_was_killed_at_the_database_goes_on(machine: Machine, step: str) -> None:
    present = machine.journal(aside="moongate.db.of-0.3.0")
    environment.exchange(machine.site, present)
    journal.write_journal(machine.home, present)
    aside = machine.database.path.with_name("moongate.db.of-0.3.0")
    if step == "linked":
        aside.hardlink_to(machine.database.path)
    elif step in ("renamed", "after"):
        machine.database.path.rename(aside)
    if step == "after":
        machine.database.copy_of(OLD).rename(machine.database.path)
    done = machine.recover()
    assert done is not None
    assert (machine.count_runs(machine.database.path), machine.count_runs(aside), machine.version) == (0, 1, "0.2.0")


@pytest.mark.parametrize("step", ["linked", "after", "returned"])
def test_a_return_that_was_killed_goes_on(machine: Machine, step: str) -> None:
    present = machine.journal(aside="moongate.db.of-0.3.0", step=Step.RETURN, why="it ended")
    environment.exchange(machine.site, present)
    journal.write_journal(machine.home, present)
    aside = machine.database.path.with_name("moongate.db.of-0.3.0")
    if step != "returned":
        aside.hardlink_to(machine.database.path)
    if step == "after":
        machine.database.copy_of(OLD).replace(machine.database.path)
    with pytest.raises(GatewayError, match="serves again"):
        machine.recover()
    assert (machine.count_runs(machine.database.path), machine.version) == (1, "0.3.0")


def _failing_update(machine: Machine, **more: object) -> Journal:
    """Return the journal of an update whose version has migrated the database."""
    (machine.site.environment / "version").write_text("0.2.0")
    (machine.site.candidate / "version").write_text("0.3.0")
    return machine.journal(
        from_version="0.2.0", to_version="0.3.0", schema=OLD, restore_schema=None, discard=False, rollback=False, **more
    )


def test_the_migrated_database_is_kept_until_the_version_from_before_serves(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.database.path.write_bytes(CONTENT)
    _run(machine.database.path, f"PRAGMA user_version = {NEW}")
    monkeypatch.setattr(serving, "watch_gateway", lambda *_, **__: "it ended")
    machine.broken = {"0.2.0"}
    undone = machine.database.path.with_name("moongate.db.update-undone")
    with pytest.raises(GatewayError, match=r"0\.2\.0 is in its place again, but does not start"):
        machine.complete(_failing_update(machine))
    assert undone.exists()
    machine.broken = set()
    with pytest.raises(GatewayError, match="serves again"):
        machine.recover()
    assert (undone.exists(), machine.database.read_schema(), machine.version) == (False, OLD, "0.2.0")


def test_a_migrated_database_with_anything_of_its_own_is_kept(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.database.path.write_bytes(CONTENT)
    _run(machine.database.path, f"PRAGMA user_version = {NEW}", "CREATE TABLE audit (who_kind TEXT, seq INTEGER)",
         "INSERT INTO audit VALUES ('stranger', 1)")  # fmt: skip
    monkeypatch.setattr(serving, "watch_gateway", lambda *_, **__: "it ended")
    with pytest.raises(GatewayError, match=r"is kept: .*moongate\.db\.of-0\.3\.0") as caught:
        machine.complete(_failing_update(machine))
    assert "nothing is lost" not in str(caught.value)
    assert machine.database.path.with_name("moongate.db.of-0.3.0").exists()
    assert machine.database.read_schema() == OLD


def test_a_copy_from_an_earlier_update_is_not_put_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "watch_gateway", lambda *_, **__: "it ended")
    former = machine.database.identify_copy(OLD)
    with pytest.raises(Conflict, match="there is no copy of it from before") as caught:
        machine.complete(_failing_update(machine, former_copy=former, backup="/b.tar.gz"))
    assert ".before-update/bin/python -P -m cli.main restore /b.tar.gz --replace" in (caught.value.remedy or "")
    assert f"gateway stop && MOONGATE_HOME={machine.home} " in (caught.value.remedy or "")
    assert "--discard" not in (caught.value.remedy or "")
    assert (machine.version, machine.calls[-1], journal.read_journal(machine.home)) == ("0.3.0", "start 0.3.0", None)
    last = journal.read_last_update(machine.home)
    assert last is not None
    assert last.to_version == "0.3.0"


def test_an_old_environment_that_is_gone_leaves_the_other_version_in_place(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = _failing_update(machine, run=None, why="it ended", backup="/b.tar.gz")
    environment.exchange(machine.site, present)
    environment.remove_directory(machine.site.candidate)
    journal.write_journal(machine.home, msgspec.structs.replace(present, step=Step.RETURN))
    with pytest.raises(Conflict, match=r"0\.2\.0 is not in .*venv\.update any more") as caught:
        machine.recover()
    assert "install version 0.2.0 in the same way as before" in (caught.value.remedy or "")
    assert "gateway restore /b.tar.gz --replace" in (caught.value.remedy or "")
    assert (machine.version, journal.read_journal(machine.home)) == ("0.3.0", None)


def test_an_update_with_another_database_is_not_ended(machine: Machine) -> None:
    journal.write_journal(machine.home, machine.journal(database="/elsewhere/moongate.db"))
    with pytest.raises(Conflict, match=r"begun with the database /elsewhere/moongate\.db"):
        machine.recover()
    assert journal.read_journal(machine.home) is not None


def test_a_rollback_needs_the_copy_of_the_last_update(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    last = LastUpdate(
        from_version="0.2.0",
        to_version=gateway.__version__,
        at=1,
        schema_before=12,
        backup="/b.tar.gz",
    )
    journal.write_last_update(machine.home, last)
    monkeypatch.setattr(environment, "read_known_schema", lambda *_: OLD)
    monkeypatch.setattr(kept_environment, "read_kept_version", lambda *_: "0.2.0")
    with pytest.raises(Conflict, match=r"moongate\.db\.schema-12") as caught:
        rollback.plan_rollback(machine.instance, machine.site, may_discard=True)
    assert ".before-update/bin/python -P -m cli.main restore /b.tar.gz" in (caught.value.remedy or "")
