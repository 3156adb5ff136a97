"""Puts the version from before back: its environment, and if needed its database. Nothing is lost silently."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import NamedTuple

import msgspec

import gateway
from cli.instance import Instance
from cli.output import WaitIndicator
from cli.update import database, ending, environment, journal, places, serving
from cli.update.database import Database, WayBack
from cli.update.installation import Installation
from cli.update.journal import Journal, Run, Step
from cli.update.tools import interpreter_of
from gateway.errors import Conflict, GatewayError
from gateway.supervisor.command_line import spell_program


def put_back(instance: Instance, site: Installation, failed: Journal, told: WaitIndicator) -> GatewayError:
    """Put the version from before back, and let it serve. It can be called again after an interruption.

    Returns:
        The error that says why the update failed, and what serves now.

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
    return GatewayError(said, remedy=f"{serves}{lost}.{way.note} See: gateway logs", details={"rolled_back": True})


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


class Returned(NamedTuple):
    """What came of it that the version from before was to have its own database back."""

    #: why it has not; empty if it has
    refused: str = ""
    #: what to do then
    remedy: str = ""
    #: a sentence about what else is kept
    note: str = ""


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
                f"To go back, {_name_backup(instance, site, failed.backup)}",
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


def name_aside(instance: Instance, present: Journal) -> str:
    """Return the sentence that names the database that was put aside."""
    found = database.find_database(instance.env)
    place = present.aside if found is None else found.path.with_name(present.aside or "")
    return f"The database of version {present.from_version}, with all that came since the update, is kept: {place}"


def _stay(instance: Instance, site: Installation, failed: Journal, said: str, way: Returned) -> GatewayError:
    """Let the other version go on, because the one from before would lose work."""
    ended = journal.write_journal(instance.home, msgspec.structs.replace(failed, step=Step.FINISH))
    started = ""
    if failed.run is not None:
        try:
            serving.start_gateway(instance, failed.run)
        except GatewayError as error:
            started = f" It does not start: {error.message.rstrip('.')}."
    with contextlib.suppress(OSError):  # the next `gateway update` does it
        ending.record_end(instance.home, site, ended)
    return Conflict(
        f"{said} It stays in place, because {way.refused}.{started}",
        remedy=f"See why it fails: gateway logs. {way.remedy}",
        details={"rolled_back": False},
    )


def _name_backup(instance: Instance, site: Installation, backup: str | None) -> str:
    """Say how to restore the backup from before an update so that the version from before can read the database.

    That version must do it: another one would migrate the database, and end open tasks only in the migrated one.
    """
    file = "FILE" if not backup else shlex.quote(backup)
    python = shlex.quote(str(interpreter_of(environment.kept_copy(site))))
    program = spell_program(instance.env, f"{python} -P -m cli.main")
    return (
        "first let the version from before restore the backup from before the update: gateway stop &&"
        f" {program} restore {file} --replace. Then: gateway update --rollback, and gateway start"
    )


def plan_rollback(instance: Instance, site: Installation, may_discard: bool) -> int | None:
    """Return the schema of the copy that must take the place of the database; None if the database can stay.

    Raises:
        Conflict: work would be lost, or there is no copy.
    """
    found = database.find_database(instance.env)
    newest = environment.read_known_schema(site.candidate, instance.env)
    present = None if found is None else found.read_schema()
    if found is None or present is None or newest is None or present <= newest:
        return None
    version = environment.read_kept_version(site, instance.env) or "the one before"
    last = journal.read_last_update(instance.home)
    is_last = last is not None and last.to_version == gateway.__version__ and last.from_version == version
    schema = last.schema_before if last is not None and is_last else found.find_copy(newest)
    if schema is None or not found.copy_of(schema).exists():
        name = found.copy_of(schema or newest)
        raise Conflict(
            f"version {version} cannot read the migrated database (schema {present}; it knows {newest}), and there is"
            f" no copy of it from before ({name}).",
            remedy=f"Nothing has changed. To go back all the same,"
            f" {_name_backup(instance, site, last.backup if last is not None and is_last else None)}",
        )
    _require_no_loss(found, schema, version, may_discard)
    return schema


def _require_no_loss(found: Database, schema: int, version: str, may_discard: bool) -> None:
    work = found.find_new_work(found.copy_of(schema))
    if work.is_any and not may_discard:
        raise database.refuse_loss(work, version)


class Served(NamedTuple):
    """What came of it that another version was to serve."""

    #: why it does not serve; empty if it does
    why: str
    journal: Journal
    #: number of the serving process that took over; None if it is unknown
    generation: int | None = None


class Changed(NamedTuple):
    """What came of it that another version was to have its own database."""

    #: why it has not; empty if it has
    why: str
    journal: Journal


def change_database(instance: Instance, present: Journal) -> Changed:
    """Put the copy of the database in place that a rollback needs, and keep the other one; the gateway is stopped."""
    found = database.find_database(instance.env)
    schema = present.restore_schema
    if found is None or schema is None:
        return Changed("", present)
    try:
        with places.hold_gateway_locks(instance):
            copy = found.copy_of(schema)
            if present.aside is None:
                _require_no_loss(found, schema, present.to_version, present.discard)
                aside = found.choose_aside(present.from_version)
                present = msgspec.structs.replace(present, aside=aside.name)
                journal.write_journal(instance.home, present)
            found.exchange(copy, found.path.with_name(present.aside or ""))
    except GatewayError as error:
        return Changed(error.message, present)
    except OSError as error:
        return Changed(f"the databases cannot be exchanged: {ending.describe_file_error(error)}", present)
    return Changed("", present)


def serve_other_version(instance: Instance, present: Journal) -> Served:
    """Let the version that was put in place serve.

    Returns:
        What came of it.
    """
    run = present.run
    assert run is not None
    if serving.is_serving(instance, present.to_version):  # the update was interrupted after that
        return Served("", present)
    if present.restore_schema is None and serving.is_running(instance):
        replaced = serving.replace_gateway(instance, present.to_version, f"update to {present.to_version}")
        return Served(replaced.why, present, replaced.generation)
    try:
        serving.stop_gateway(instance, by_service=run.by_service)
        why, present = change_database(instance, present)
        if not why:
            serving.start_gateway(instance, run)
    except GatewayError as error:
        return Served(error.message, present)
    return Served(why, present)
