"""Puts the version from before back: its environment, and if needed its database. Nothing is lost silently."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import NamedTuple

import msgspec

from cli.instance import Instance
from cli.output import WaitIndicator
from cli.update import backup, database, ending, environment, journal, places, serving
from cli.update.database import Database, WayBack
from cli.update.installation import Installation
from cli.update.journal import Journal, Run, Step
from gateway.errors import Conflict, GatewayError


class PutBack(NamedTuple):
    """What came of it that the version from before was to be put back."""

    #: why the update failed; and why the version from before is not back, if that is so
    said: str
    #: what serves now, and what to do
    remedy: str
    is_back: bool

    def to_error(self) -> GatewayError:
        """Return the error with which the update ends."""
        kind = GatewayError if self.is_back else Conflict
        return kind(self.said, remedy=self.remedy, details={"rolled_back": self.is_back})


class Returned(NamedTuple):
    """What came of it that the version from before was to have its own database back."""

    #: why it has not; empty if it has
    refused: str = ""
    #: what to do then
    remedy: str = ""
    #: a sentence about what else is kept
    note: str = ""


def put_back(instance: Instance, site: Installation, failed: Journal, told: WaitIndicator) -> PutBack:
    """Put the version from before back, and let it serve. It can be called again after an interruption.

    If work would be lost, or the version from before is gone, the other one stays.

    Raises:
        GatewayError: the version from before does not serve either.
        OSError: a file cannot be renamed.
    """
    said = f"version {failed.to_version} does not serve: {failed.why.rstrip('.')}."
    run = failed.run
    if not environment.can_exchange_back(site, failed):
        return _stay(instance, site, failed, said, _explain_lost_environment(site, failed))
    told.set_text(f"putting version {failed.from_version} back")
    with contextlib.suppress(OSError):  # the disk is full: the way back needs no space
        journal.write_journal(instance.home, msgspec.structs.replace(failed, step=Step.RETURN))
    found = database.find_database(instance.env)
    migrated = found is not None and (found.read_schema() or 0) > (failed.schema or 0) > 0
    is_stopped, way = False, Returned()
    if found is not None and (migrated or failed.aside is not None):
        serving.stop_gateway(instance, by_service=run is not None and run.by_service)
        is_stopped = True
        with places.hold_gateway_locks(instance):
            if failed.aside is not None:
                way = _return_aside(found, failed, found.path.with_name(failed.aside))
            elif failed.schema is not None:
                way = _return_database(found, instance, site, failed)
        if way.refused:
            return _stay(instance, site, failed, said, way)
    environment.exchange_back(site, failed)
    if run is not None:
        _serve_again(instance, failed, run, said, is_stopped=is_stopped)
    if found is not None:
        found.undone.unlink(missing_ok=True)  # nothing came into it
    ending.undo_build(instance.home, site)
    serves = f"Version {failed.from_version} serves again" if run is not None else f"{failed.from_version} is back"
    lost = "" if way.note else ", and nothing is lost"
    return PutBack(said, f"{serves}{lost}.{way.note} See: gateway logs", is_back=True)


def _serve_again(instance: Instance, failed: Journal, run: Run, said: str, *, is_stopped: bool) -> None:
    """Let the version from before serve.

    Raises:
        GatewayError: it does not.
    """
    if not is_stopped and not serving.replace_gateway(instance, failed.from_version, "update undone").why:
        return
    try:
        serving.stop_gateway(instance, by_service=run.by_service)
        serving.start_gateway(instance, run)
    except GatewayError as error:
        raise GatewayError(
            f"{said} Version {failed.from_version} is in its place again, but does not start: {error.message}",
            remedy="See: gateway logs. Then: gateway update, which starts it again",
        ) from error


def _explain_lost_environment(site: Installation, failed: Journal) -> Returned:
    file = shlex.quote(failed.backup or "FILE")
    return Returned(
        f"the environment of version {failed.from_version} is not in {site.candidate} any more",
        f"To go back: gateway stop, install version {failed.from_version} in the same way as before, and, if the"
        f" database was migrated, gateway restore {file} --replace. Then: gateway start",
    )


def _stay(instance: Instance, site: Installation, failed: Journal, said: str, way: Returned) -> PutBack:
    """Let the other version go on, because the one from before cannot, or would lose work."""
    ended = journal.write_journal(instance.home, msgspec.structs.replace(failed, step=Step.FINISH))
    started = ""
    if failed.run is not None:
        try:
            serving.start_gateway(instance, failed.run)
        except GatewayError as error:
            started = f" It does not start: {error.message.rstrip('.')}."
    with contextlib.suppress(OSError):  # the next `gateway update` does it
        ending.record_end(instance.home, site, ended)
    return PutBack(
        f"{said} It stays in place, because {way.refused}.{started}",
        f"See why it fails: gateway logs. {way.remedy}",
        is_back=False,
    )


def _return_database(found: Database, instance: Instance, site: Installation, failed: Journal) -> Returned:
    """Put the copy from before the migration back, unless that would lose work or there is none."""
    schema = failed.schema or 0
    copy = found.copy_of(schema)
    has_copy = found.identify_copy(schema) not in (None, failed.former_copy)
    work = found.find_new_work(copy) if has_copy else None
    way = database.choose_way_back(
        present=found.read_schema(),
        wanted=schema,
        has_copy=has_copy,
        has_new_work=work is not None and work.is_any,
        may_discard=failed.discard,
    )
    match way:
        case WayBack.RESTORE:
            if found.is_different(copy):
                return _set_aside(found, copy, failed)
            found.undone.unlink(missing_ok=True)
            found.exchange(copy, found.undone)
        case WayBack.DISCARD:
            return _set_aside(found, copy, failed)
        case WayBack.NO_COPY:
            return Returned(
                f"the database was migrated, and there is no copy of it from before ({copy}) that version"
                f" {failed.from_version} could read",
                f"To go back, {backup.explain_restore(instance, site, failed.backup)}",
            )
        case WayBack.REFUSE:
            assert work is not None
            return Returned(
                f"the database was migrated, and then it took {work.describe()}, which version"
                f" {failed.from_version} could not read",
                "To go back without that work: gateway update --rollback --discard-work-since-update"
                " (the present database is kept aside)",
            )
    return Returned()


def _set_aside(found: Database, copy: Path, failed: Journal) -> Returned:
    """Put the copy back, and keep the other database with what only that one has."""
    keep = found.choose_aside(failed.to_version)
    found.exchange(copy, keep)
    return Returned(note=f" The database of version {failed.to_version} is kept: {keep}.")


def _return_aside(found: Database, failed: Journal, aside: Path) -> Returned:
    """Put the newer database back that a rollback has put aside."""
    if not aside.exists():
        return Returned()
    if found.path.exists() and found.path.samefile(aside):  # they were not exchanged yet
        aside.unlink()
        return Returned()
    copy = found.copy_of(failed.restore_schema or 0)
    count = found.count_unknown_runs(aside) if found.path.exists() else 0
    keep = found.choose_aside(failed.to_version) if count or copy.exists() else copy
    found.exchange(aside, keep)
    tasks = f"{count:,} task{'s' if count > 1 else ''}"
    note = f" {tasks} that version {failed.to_version} accepted meanwhile: they are kept in {keep}."
    return Returned(note=note if count else "")
