"""The whole story of an update, in its order.

Build the other version next to the present one, try it, make a backup, exchange the two, replace the gateway, watch
it. If it does not serve, put the version from before back. The journal is written before each step, so that an
update that was interrupted can be finished or undone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

import gateway
from cli.instance import Instance
from cli.output import WaitIndicator
from cli.update import (
    backup,
    clone,
    database,
    ending,
    environment,
    journal,
    origin,
    owner,
    places,
    serving,
    tools,
    trial,
    way_back,
)
from cli.update.installation import Installation, Kind
from cli.update.journal import Journal, Step
from gateway import paths
from gateway.domain.times import wall_clock
from gateway.errors import AlreadyRunning, Conflict, Forbidden, GatewayError
from gateway.process.own_environment import identify_directory
from gateway.supervisor import lock
from gateway.updates.versions import is_newer

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


def require_rights(instance: Instance, site: Installation) -> None:
    """Refuse an update by somebody else than the owner of the environment and the state directory.

    Its files, and a gateway that it starts, would belong to that user.

    Raises:
        Forbidden: this user may not do it.
    """
    if os.name == "nt":
        return
    me = os.geteuid()
    for what, place in (("environment", site.environment), ("state directory", instance.home)):
        owner = place.stat().st_uid if place.exists() else me
        if owner != me:
            name = _name_user(owner)
            raise Forbidden(
                f"the {what} {place} belongs to {name}, and this is {_name_user(me)}.",
                remedy=f"Run it as that user: sudo -u '{name}' gateway update. If environment and state directory"
                " belong to two users, install the version by hand: docs/operations/upgrade.md",
            )
    if not os.access(site.candidate.parent, os.W_OK):
        raise Forbidden(
            f"{site.candidate.parent} cannot be written to, and an update builds the new version there.",
            remedy="Make it writable, or install the version by hand: docs/operations/upgrade.md",
        )


def _name_user(number: int) -> str:
    import pwd  # late: does not exist on Windows

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


@contextlib.contextmanager
def hold_lock(instance: Instance, site: Installation) -> Iterator[None]:
    """Let no other update begin, neither of this gateway nor of another one with the same environment.

    Raises:
        AlreadyRunning: one is under way.
    """
    with _hold_environment(site.candidate.parent), _hold_state(instance):
        yield


@contextlib.contextmanager
def _hold_environment(place: Path) -> Iterator[None]:
    if os.name == "nt":
        yield
        return
    import fcntl  # late: does not exist on Windows

    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refuse_second() from None
        except OSError:  # some file systems have no locks
            pass
        yield
    finally:
        os.close(descriptor)


def _refuse_second() -> AlreadyRunning:
    return AlreadyRunning("another `gateway update` is under way.", remedy="Wait until it has ended.")


@contextlib.contextmanager
def _hold_state(instance: Instance) -> Iterator[None]:
    held = lock.try_lock(paths.locks_directory(instance.home) / journal.UPDATE_LOCK_FILE)
    if held is None:
        raise _refuse_second()
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
        with ending.explain_unchanged():
            _build(job, begun)
            restored = way_back.plan_rollback(job.instance, job.site, job.discard) if job.is_rollback else None
            job.told.set_text("making a backup")
            saved = backup.make_backup(job.instance)
            job.told.set_text("keeping the present version")
            environment.keep_copy(job.site)
            run = serving.describe_run(job.instance)  # it may have been started or stopped meanwhile
            places.require_own_places(job.instance)
    except BaseException:
        ending.undo_build(job.instance.home, job.site)
        raise
    present = msgspec.structs.replace(begun, step=Step.EXCHANGE, run=run, backup=saved, restore_schema=restored)
    with hold_signals():
        try:
            with ending.explain_unchanged():
                journal.write_journal(job.instance.home, present)
                environment.exchange(job.site, present)
        except GatewayError as error:
            _undo_exchange(job, present, error)
            raise
        with ending.explain_unended(job.version):
            return complete(job, present)


def _undo_exchange(job: Job, present: Journal, error: GatewayError) -> None:
    """Let everything be as before the exchange, which failed.

    Raises:
        GatewayError: that is impossible, too; the journal stays.
    """
    try:
        environment.exchange_back(job.site, present)
    except (OSError, GatewayError) as second:
        raise GatewayError(
            f"{error.message} And it cannot be undone: {second}.", remedy="Finish or undo it: gateway update"
        ) from error
    ending.undo_build(job.instance.home, job.site)


def _begin(job: Job) -> Journal:
    owner.refuse_other_state(job.site, job.instance.home)
    run = serving.describe_run(job.instance)
    places.require_own_places(job.instance)
    found = database.find_database(job.instance.env)
    schema = None if found is None else found.read_schema()
    if found is not None and schema is None and run is not None:
        raise Conflict(
            f"a gateway runs, but there is no database {found.path}, so nothing could be saved or put back.",
            remedy="Nothing has changed. See which one it uses: gateway status, and gateway config get data.directory",
        )
    before, after = _read_commits(job) if is_clone(job.site) else (None, None)
    present = Journal(
        step=Step.BUILD,
        environment=str(job.site.environment),
        identity=identify_directory(job.site.environment),
        from_version=gateway.__version__,
        to_version=job.version,
        began=wall_clock(),
        run=run,
        schema=schema,
        database=None if found is None else str(found.path),
        from_commit=before,
        to_commit=after,
        discard=job.discard,
        rollback=job.is_rollback,
        former_copy=None if found is None else found.identify_copy(schema),
    )
    with ending.explain_unchanged():
        paths.make_private_directory(job.instance.home)
        owner.write_mark(job.site, job.instance.home)
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
        if database.find_database(job.instance.env) is None:
            _require_same_schema(job, env)
        elif not job.is_rollback:
            _require_readable_database(job, begun.schema, env)
        if job.has_trial and not job.is_rollback:
            job.told.set_text(f"trying version {job.version} with a copy of the database")
            trial.try_serving(job.site, job.version, job.instance, env)


def _require_readable_database(job: Job, present: int | None, env: Mapping[str, str]) -> None:
    """Refuse a version that knows only older databases: no gateway would start.

    Raises:
        Conflict: it is such a version.
    """
    known = environment.read_known_schema(job.site.candidate, env) if present is not None else None
    if present is None or (known is not None and known >= present):
        return
    if known is None and is_newer(job.version, gateway.__version__):
        return  # the trial tells
    what = f"schema {present}; it knows {known}" if known is not None else "it does not say which it knows"
    raise Conflict(
        f"version {job.version} cannot read the present database ({what}).",
        remedy="Nothing has changed. If it is the version from before the last update: gateway update --rollback."
        " Otherwise install it elsewhere, and restore a backup of that version there: gateway restore",
    )


def _require_same_schema(job: Job, env: Mapping[str, str]) -> None:
    """Refuse a version that changes the schema of a database of which there is no copy: there would be no way back.

    Raises:
        Conflict: it changes it, or knows only an older one.
    """
    present = environment.read_known_schema(job.site.environment, job.instance.env, of_server=True)
    known = environment.read_known_schema(job.site.candidate, env, of_server=True)
    if job.has_trial and known != present:
        raise Conflict(
            f"version {job.version} has another schema of the PostgreSQL database ({known}, this version {present}),"
            " of which no copy is made. So nothing could be put back if that version did not serve.",
            remedy="Nothing has changed. Make a dump of it, and update as docs/operations/scale.md says under Upgrade."
            " Or go on without a way back: --no-trial",
        )


def _install(job: Job, source: Path | None) -> None:
    place = origin.find_origin(job.site, job.instance.env) if source is None else None
    job.told.set_text("copying the present version")
    environment.copy_environment(job.site)
    job.told.set_text(f"installing version {job.version}")
    installer = tools.find_installer(job.site.candidate, job.instance.env, ending.tools_place(job.site))
    if place is not None:
        environment.install_version(job.site, job.version, installer, place)
    elif source is not None:
        clone.install_packages(job.site, source, installer)
        environment.settle_paths(job.site)


def complete(job: Job, present: Journal) -> Result:
    """Replace the gateway by the version that was put in place, and watch it; put the one before back if it fails.

    Raises:
        GatewayError: it failed, and the version from before is back; the error says what serves.
    """
    run, instance = present.run, job.instance
    if run is not None:
        if not run.by_service:  # it is to start with the same variables again
            instance = places.adopt_environment(instance)
        job.told.set_text(f"version {present.to_version} takes over")
        replaced = way_back.serve_other_version(instance, present)
        why, present = replaced.why, replaced.journal
        if not why:
            job.told.set_text(f"watching version {present.to_version}")
            why = serving.watch_gateway(instance, job.watch_seconds, replaced.generation, was_ready=run.ready)
    else:
        why, present = way_back.change_database(instance, present)
    if why:
        raise way_back.put_back(instance, job.site, msgspec.structs.replace(present, why=why), job.told)
    return finish(job, journal.write_journal(job.instance.home, msgspec.structs.replace(present, step=Step.FINISH)))


def finish(job: Job, present: Journal) -> Result:
    """Remove what is left of an update that ended well.

    Raises:
        OSError: the disk is full.
    """
    ending.record_end(job.instance.home, job.site, present)
    kept = [] if present.aside is None else [way_back.name_aside(job.instance, present)]
    if present.from_commit is not None and present.to_commit is not None:
        with contextlib.suppress(GatewayError):
            kept += clone.name_own_commits(job.site, present.from_commit, present.to_commit)
    notes = (*kept, *serving.rewrite_unit(job.site, job.instance))
    return Result(present.from_version, present.to_version, present.backup, present.run is not None, notes)
