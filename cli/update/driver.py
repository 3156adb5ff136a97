"""The whole story of an update, in its order.

Build the other version next to the present one, try it, make a backup, exchange the two, replace the gateway, watch
it. If it does not serve, put the version from before back. The journal is written before each step, so that an
update that was interrupted can be finished or undone.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

import gateway
from cli.instance import Instance
from cli.output import WaitIndicator
from cli.update import backup, clone, database, environment, journal, serving, tools, trial, way_back
from cli.update.installation import Installation, Kind
from cli.update.journal import Journal, LastUpdate, Step
from gateway import paths
from gateway.errors import AlreadyRunning, GatewayError, StorageFull
from gateway.process.own_environment import identify_directory
from gateway.supervisor import lock

#: seconds that the other version is watched after it was ready
WATCH_SECONDS = 15.0


class Job(NamedTuple):
    """One update: what of, to what, and how."""

    instance: Instance
    site: Installation
    version: str
    #: shows what is going on
    told: WaitIndicator
    watch_seconds: float = WATCH_SECONDS
    #: whether to go back to the environment from before the last update, in place of building one
    is_rollback: bool = False
    #: whether work that came since the last update may be thrown away
    discard: bool = False
    #: whether to start the other version with a copy of the database first
    has_trial: bool = True


class Result(NamedTuple):
    """How an update ended well."""

    from_version: str
    to_version: str
    backup: str | None
    #: whether a gateway ran, and was replaced
    replaced: bool
    #: what else to know
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def hold_lock(instance: Instance) -> Iterator[None]:
    """Let no other update begin.

    Raises:
        AlreadyRunning: one is under way.
    """
    held = lock.try_lock(paths.locks_directory(instance.home) / journal.UPDATE_LOCK_FILE)
    if held is None:
        raise AlreadyRunning("another `gateway update` is under way.", remedy="Wait until it has ended.")
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Let Ctrl-C and a lost terminal wait until the block has ended: in between, no version would be whole."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def update(job: Job) -> Result:
    """Update to another version. The version from before serves until the other one does, and again if that fails.

    Raises:
        GatewayError: the update failed; the version from before is in place.
    """
    begun = _begin(job)
    try:
        with _explain_full_disk():
            _build(job, begun)
            restored = way_back.plan_rollback(job.instance, job.site, job.discard) if job.is_rollback else None
            job.told.set_text("making a backup")
            saved = backup.make_backup(job.instance)
            job.told.set_text("keeping the present version")
            environment.keep_copy(job.site)
    except BaseException:
        undo_build(job.instance.home, job.site)
        raise
    present = msgspec.structs.replace(begun, step=Step.EXCHANGE, backup=saved, restore_schema=restored)
    with hold_signals():
        try:
            with _explain_full_disk():
                journal.write_journal(job.instance.home, present)
                environment.exchange(job.site, present)
        except GatewayError:
            with contextlib.suppress(OSError):
                environment.exchange_back(job.site, present)
            undo_build(job.instance.home, job.site)
            raise
        with explain_unended(job.version):
            return complete(job, present)


@contextlib.contextmanager
def explain_unended(version: str) -> Iterator[None]:
    """Turn an error of the file system, after the exchange, into one that says what to do.

    Raises:
        GatewayError: it failed; the journal is still there.
    """
    try:
        yield
    except OSError as error:
        raise GatewayError(
            f"the update to version {version} cannot be ended: {error.strerror or error}.",
            remedy="Free space, or correct the owner of the directory; then finish or undo it: gateway update",
        ) from error


def _begin(job: Job) -> Journal:
    found = database.find_database(job.instance.env)
    before, after = _read_commits(job) if is_clone(job.site) else (None, None)
    present = Journal(
        step=Step.BUILD,
        environment=str(job.site.environment),
        identity=identify_directory(job.site.environment),
        from_version=gateway.__version__,
        to_version=job.version,
        began=time.time_ns() // 1_000_000,
        run=serving.describe_run(job.instance),
        schema=None if found is None else found.read_schema(),
        from_commit=before,
        to_commit=after,
        discard=job.discard,
    )
    with _explain_full_disk():
        paths.make_private_directory(job.instance.home)
        return journal.write_journal(job.instance.home, present)


def _read_commits(job: Job) -> tuple[str, str]:
    last = journal.read_last_update(job.instance.home) if job.is_rollback else None
    return clone.read_commits(job.site, job.version, job.instance.env, None if last is None else last.from_commit)


def is_clone(site: Installation) -> bool:
    return site.kind is Kind.CLONE


def _build(job: Job, begun: Journal) -> None:
    """Make the environment of the other version, and check what can be checked without the gateway.

    Raises:
        GatewayError: it cannot be made, or does not start.
    """
    with clone.unpack_source(job.site, begun.to_commit) as source:
        if job.is_rollback:
            job.told.set_text(f"copying version {job.version}")
            environment.copy_kept(job.site)
        else:
            _install(job, source)
        env = job.instance.env if source is None else {**job.instance.env, "PYTHONPATH": str(source)}
        job.told.set_text(f"trying version {job.version}")
        environment.try_programs(job.site, job.version, env)
        if job.has_trial and not job.is_rollback:
            job.told.set_text(f"trying version {job.version} with a copy of the database")
            trial.try_serving(job.site, job.version, job.instance, env)


def _install(job: Job, source: Path | None) -> None:
    job.told.set_text("copying the present version")
    environment.copy_environment(job.site)
    job.told.set_text(f"installing version {job.version}")
    installer = tools.find_installer(job.site.candidate, job.instance.env, tools_place(job.site))
    if source is None:
        environment.install_version(job.site, job.version, installer)
    else:
        clone.install_packages(job.site, source, installer)
        environment.settle_paths(job.site)


def tools_place(site: Installation) -> Path:
    """Return the directory for a pip of our own, while an update runs."""
    return site.candidate.with_name(site.candidate.name + "-tools")


def undo_build(home: Path, site: Installation) -> None:
    """Remove what was built; nothing that is used has changed."""
    with contextlib.suppress(OSError):
        for place in (site.candidate, tools_place(site)):
            environment.remove_directory(place)
        environment.restore_former_copy(site)
    journal.remove_journal(home)


def complete(job: Job, present: Journal) -> Result:
    """Replace the gateway by the version that was put in place, and watch it; put the one before back if it fails.

    Raises:
        GatewayError: it failed, and the version from before is back; the error says what serves.
    """
    run = present.run
    if run is None and present.restore_schema is not None:
        way_back.restore_database(job.instance, present)
    if run is not None:
        job.told.set_text(f"version {present.to_version} takes over")
        why, generation = way_back.serve_other_version(job.instance, present)
        if not why:
            job.told.set_text(f"watching version {present.to_version}")
            why = serving.watch_gateway(job.instance, job.watch_seconds, generation, was_ready=run.ready)
        if why:
            raise way_back.put_back(job.instance, job.site, msgspec.structs.replace(present, why=why), job.told)
    return finish(job, journal.write_journal(job.instance.home, msgspec.structs.replace(present, step=Step.FINISH)))


def finish(job: Job, present: Journal) -> Result:
    """Remove what is left of an update that ended well."""
    found = database.find_database(job.instance.env)
    last = LastUpdate(
        from_version=present.from_version,
        to_version=present.to_version,
        at=time.time_ns() // 1_000_000,
        schema_before=present.schema,
        schema_after=None if found is None else found.read_schema(),
        backup=present.backup,
        from_commit=present.from_commit,
    )
    with _explain_full_disk():
        journal.write_last_update(job.instance.home, last)
    environment.forget_former_copy(job.site)
    undo_build(job.instance.home, job.site)  # the candidate's place has the environment from before, of which is a copy
    notes = serving.rewrite_unit(job.site, job.instance)
    return Result(present.from_version, present.to_version, present.backup, present.run is not None, notes)


@contextlib.contextmanager
def _explain_full_disk() -> Iterator[None]:
    """Turn an error of the file system into one that says what to do.

    Raises:
        GatewayError: it failed.
    """
    try:
        yield
    except OSError as error:
        what = error.strerror or str(error)
        if "No space left" in str(error):
            raise StorageFull(
                "the disk is full; an update needs room for a second environment and a backup.",
                remedy="Nothing has changed. Free space, and run it again.",
            ) from error
        raise GatewayError(f"{error.filename or 'a file'}: {what}.", remedy="Nothing has changed.") from error
