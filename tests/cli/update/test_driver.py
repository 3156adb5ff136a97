"""Who may update, one at a time, and what an update says of its errors; without a gateway."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gateway
from cli import output
from cli.doctor.updates import examine_updates
from cli.instance import Instance
from cli.lifecycle.start_options import StartOptions
from cli.update import build, driver, ending, environment, journal, locking, notes, recovery, rights, serving
from cli.update.installation import Installation, Kind
from cli.update.job import Job
from cli.update.journal import Journal, Step
from gateway import paths
from gateway.errors import AlreadyRunning, ConfigError, Conflict, Forbidden, GatewayError, StorageFull
from gateway.process.own_environment import identify_directory
from harness.command_line import Shell
from harness.live_gateway import Live

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    made = Installation(Kind.VENV, tmp_path / "venvs/one", tmp_path / "venvs/one/lib")
    made.environment.mkdir(parents=True)
    return made


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return Instance(home, home / "config.json", {"MOONGATE_HOME": str(home), "HOME": str(tmp_path)})


def test_a_second_update_is_refused_also_of_another_gateway(
    site: Installation, instance: Instance, tmp_path: Path
) -> None:
    other = Instance(tmp_path / "other", tmp_path / "other/config.json", {})
    other.home.mkdir()
    with locking.hold_lock(instance, site):
        for second in (instance, other):
            with pytest.raises(AlreadyRunning, match="another `gateway update`"), locking.hold_lock(second, site):
                pass
    with locking.hold_lock(other, site):
        pass


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("is_state", [False, True])
def test_somebody_else_than_the_owner_is_refused(site: Installation, instance: Instance, is_state: bool) -> None:
    rights.require_rights(instance, site)
    os.chown(instance.home if is_state else site.environment, 65534, -1)
    with pytest.raises(Forbidden, match="belongs to nobody, and this is root") as caught:
        rights.require_rights(instance, site)
    assert "sudo -u 'nobody' gateway update" in (caught.value.remedy or "")


def test_a_place_that_cannot_be_written_to_is_named(
    site: Installation, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Forbidden, match=r"venvs cannot be written to"):
        rights.require_rights(instance, site)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a"), "the disk is full"),
        (OSError(errno.EACCES, "Permission denied", "/a"), r"^/a: Permission denied\. Nothing has changed"),
        (
            shutil.Error([("/a", "/b", "[Errno 13] Permission denied: '/a'")] * 9),
            r"^\[Errno 13\] Permission denied: '/a'\.",
        ),
    ],
)
def test_an_error_of_the_file_system_is_told_in_words(error: OSError, said: str) -> None:
    with pytest.raises(GatewayError, match=said) as caught, ending.explain_unchanged():
        raise error
    assert isinstance(caught.value, StorageFull) == ("full" in said)


def test_a_full_disk_at_the_end_does_not_say_that_nothing_has_changed(
    site: Installation, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal.write_journal(instance.home, _interrupted(site, Step.FINISH))
    monkeypatch.setattr(journal, "write_last_update", fail)
    with output.show_waiting("") as told, pytest.raises(GatewayError, match="cannot be ended: No space left") as caught:
        recovery.recover(instance, site, told, 0.0)
    assert "Nothing has changed" not in caught.value.message
    assert journal.read_journal(instance.home) is not None


def _interrupted(site: Installation, step: Step, **more: object) -> Journal:
    return Journal(
        step=step,
        environment=str(site.environment),
        identity=identify_directory(site.environment),
        from_version="0.1.0",
        to_version=gateway.__version__,
        began=1,
        **more,  # type: ignore[arg-type]
    )


def test_an_exchange_that_cannot_be_undone_keeps_the_environment_from_before(
    site: Installation, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    site.candidate.mkdir()
    monkeypatch.setattr(environment, "exchange_back", fail)
    present = journal.write_journal(instance.home, _interrupted(site, Step.EXCHANGE))
    with output.show_waiting("") as told, pytest.raises(GatewayError, match="cannot be undone"):
        driver._undo_exchange(Job(instance, site, "0.3.0", told, 0.0), present, GatewayError("it failed."))
    assert site.candidate.exists()
    assert journal.read_journal(instance.home) is not None


@pytest.mark.parametrize(
    ("version", "known", "is_refused"),
    [("0.1.0", 3, True), ("0.1.0", None, True), ("9.0.0", None, False), ("9.0.0", 9, False), ("0.1.0", 9, False)],
)
def test_a_version_that_cannot_read_the_database_is_refused_also_without_a_trial(
    site: Installation,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    known: int | None,
    is_refused: bool,
) -> None:
    monkeypatch.setattr(environment, "read_known_schema", lambda *_: known)
    with output.show_waiting("") as told:
        job = Job(instance, site, version, told, 0.0, has_trial=False)
        refused = pytest.raises(Conflict, match="cannot read the present database")
        with refused if is_refused else contextlib.nullcontext():
            build._require_readable_database(job, 9, {})


def test_what_a_killed_trial_left_is_removed(site: Installation, instance: Instance) -> None:
    place = instance.home / "scratch/update-trial"
    place.mkdir(parents=True)
    (place / "moongate.db").write_text("a copy")
    ending.undo_build(instance.home, site)
    assert not place.exists()


def test_a_journal_that_cannot_be_read_is_not_taken_for_none(site: Installation, instance: Instance) -> None:
    assert journal.read_journal(instance.home) is None
    file = paths.update_journal_file(instance.home)
    file.write_text('{"step": "of a later version"}')
    file.chmod(0o600)
    with output.show_waiting("") as told, pytest.raises(ConfigError, match=str(file)):
        recovery.recover(instance, site, told, 0.0)
    paths.make_private_directory(paths.locks_directory(instance.home))
    assert str(file) in (notes.describe_interruption(instance.home) or "")
    assert str(file) in next(examine_updates(instance)).finding


def test_what_an_earlier_build_noted_of_the_last_update_is_read(instance: Instance) -> None:
    file = instance.home / journal.LAST_UPDATE_FILE
    file.write_text(
        '{"from_version": "0.1.0", "to_version": "0.2.0", "at": 1, "schema_before": 3,'
        ' "schema_after": 4, "backup": null}'
    )
    file.chmod(0o600)
    last = journal.read_last_update(instance.home)
    assert last is not None
    assert (last.schema_before, last.to_version) == (3, "0.2.0")


def test_an_interrupted_rollback_is_known(site: Installation, instance: Instance) -> None:
    assert not recovery.was_rollback(instance)
    journal.write_journal(instance.home, _interrupted(site, Step.EXCHANGE, rollback=True))
    assert recovery.was_rollback(instance)


@pytest.mark.parametrize("version", ["../x", "0.3.0 --index-url https://evil.example", "latest", "0.3.0+local", ""])
def test_what_is_no_version_is_refused_before_anything_is_done(alone: tuple[Live, Shell], version: str) -> None:
    done = alone[1]("update", "--version", version)
    assert done.code == 2
    assert "such as 0.3.1" in done.err


@pytest.mark.parametrize(("known", "has_trial", "is_refused"), [(9, True, False), (10, True, True), (10, False, False)])
def test_a_schema_of_a_server_is_changed_only_if_that_is_wanted(
    site: Installation,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    known: int,
    has_trial: bool,
    is_refused: bool,
) -> None:
    known_by = {site.environment: 9, site.candidate: known}
    monkeypatch.setattr(environment, "read_known_schema", lambda place, *_, **__: known_by[place])
    with output.show_waiting("") as told:
        job = Job(instance, site, "9.0.0", told, 0.0, has_trial=has_trial)
        refused = pytest.raises(Conflict, match="another schema of the PostgreSQL database")
        with refused if is_refused else contextlib.nullcontext():
            build._require_same_schema(job, {})


def test_the_schema_of_a_server_is_read_from_an_environment(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    expected = len(list((ROOT / "gateway/store/postgres/migrations").glob("[0-9]*.sql")))
    assert environment.read_known_schema(tmp_path, env, of_server=True) == expected


@pytest.mark.parametrize("is_single", [False, True])
def test_a_gateway_without_a_supervisor_must_be_stopped_first(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, is_single: bool
) -> None:
    env = {**os.environ, **({"MOONGATE_NO_RESPAWN": "1"} if is_single else {})}
    words, pipe = [sys.executable, "-c", "print(flush=True); input()"], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, env=env) as process:
        assert process.stdout is not None
        process.stdout.readline()  # its variables are there when it has begun
        assert serving._is_single_process(process.pid) is is_single
        monkeypatch.setattr(serving.lock, "lock_holder", lambda _: process)
        monkeypatch.setattr(serving, "read_start_options", lambda _: StartOptions())
        with pytest.raises(Conflict, match="as one process") if is_single else contextlib.nullcontext():
            serving.describe_run(instance)
        process.communicate(b"\n")
