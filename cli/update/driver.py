"""The whole story of an update, in its order.

Build the other version next to the present one, try it, make a backup, exchange the two, replace the gateway, watch
it. If it does not serve, put the version from before back. The journal is written before each step, so that an
update that was interrupted can be finished or undone.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import msgspec

import gateway
from cli.instance import Instance
from cli.update import (
    backup,
    build,
    clone,
    database,
    ending,
    environment,
    journal,
    kept_environment,
    locking,
    owner,
    places,
    rollback,
    serving,
    way_back,
)
from cli.update.installation import Kind
from cli.update.job import Job, Result
from cli.update.journal import Journal, Step
from gateway import paths
from gateway.domain.times import wall_clock
from gateway.errors import Conflict, GatewayError
from gateway.process.own_environment import identify_directory


def update(job: Job) -> Result:
    """Update to another version. The version from before serves until the other one does, and again if that fails.

    Raises:
        GatewayError: the update failed; the version from before is in place.
    """
    begun = _begin(job)
    try:
        with ending.explain_unchanged():
            build.build_version(job, begun)
            restored = rollback.plan_rollback(job.instance, job.site, job.discard) if job.is_rollback else None
            job.told.set_text("making a backup")
            saved = backup.make_backup(job.instance)
            job.told.set_text("keeping the present version")
            kept_environment.keep_copy(job.site)
            run = serving.describe_run(job.instance)  # it may have been started or stopped meanwhile
            places.require_own_places(job.instance)
    except BaseException:
        ending.undo_build(job.instance.home, job.site)
        raise
    present = msgspec.structs.replace(begun, step=Step.EXCHANGE, run=run, backup=saved, restore_schema=restored)
    with locking.hold_signals():
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
    before, after = _read_commits(job) if job.site.kind is Kind.CLONE else (None, None)
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
        served = _serve(instance, present)
        why, present = served.why, served.journal
        if not why:
            job.told.set_text(f"watching version {present.to_version}")
            why = serving.watch_gateway(instance, job.watch_seconds, served.generation, was_ready=run.ready)
    else:
        why, present = rollback.change_database(instance, present)
    if why:
        raise way_back.put_back(instance, job.site, msgspec.structs.replace(present, why=why), job.told).to_error()
    return finish(job, journal.write_journal(job.instance.home, msgspec.structs.replace(present, step=Step.FINISH)))


class _Served(NamedTuple):
    """What came of it that another version was to serve."""

    #: why it does not serve; empty if it does
    why: str
    journal: Journal
    #: number of the serving process that took over; None if it is unknown
    generation: int | None = None


def _serve(instance: Instance, present: Journal) -> _Served:
    """Let the version that was put in place serve.

    Returns:
        What came of it.
    """
    run = present.run
    assert run is not None
    if serving.is_serving(instance, present.to_version):  # the update was interrupted after that
        return _Served("", present)
    if present.restore_schema is None and serving.is_running(instance):
        replaced = serving.replace_gateway(instance, present.to_version, f"update to {present.to_version}")
        return _Served(replaced.why, present, replaced.generation)
    try:
        serving.stop_gateway(instance, by_service=run.by_service)
        why, present = rollback.change_database(instance, present)
        if not why:
            serving.start_gateway(instance, run)
    except GatewayError as error:
        return _Served(error.message, present)
    return _Served(why, present)


def finish(job: Job, present: Journal) -> Result:
    """Remove what is left of an update that ended well.

    Raises:
        OSError: the disk is full.
    """
    ending.record_end(job.instance.home, job.site, present)
    kept = [] if present.aside is None else [rollback.name_aside(job.instance, present)]
    if present.from_commit is not None and present.to_commit is not None:
        with contextlib.suppress(GatewayError):
            kept += clone.name_own_commits(job.site, present.from_commit, present.to_commit)
    notes = (*kept, *serving.rewrite_unit(job.site, job.instance))
    return Result(present.from_version, present.to_version, present.backup, present.run is not None, notes)
