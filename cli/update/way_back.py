"""Puts the version from before back: its environment, and if needed its database. Nothing is lost silently."""

from __future__ import annotations

import contextlib

import msgspec

from cli.instance import Instance
from cli.output import WaitIndicator
from cli.update import database, environment, journal, serving
from cli.update.database import Database, WayBack
from cli.update.installation import Installation
from cli.update.journal import Journal, Step
from cli.update.serving import Replaced
from gateway.errors import Conflict, GatewayError


def put_back(instance: Instance, site: Installation, failed: Journal, told: WaitIndicator) -> GatewayError:
    """Put the version from before back, and let it serve. It can be called again after an interruption.

    Returns:
        The error that says why the update failed, and what serves now.
    """
    said = f"version {failed.to_version} does not serve: {failed.why.rstrip('.')}."
    run = failed.run
    told.set_text(f"putting version {failed.from_version} back")
    with contextlib.suppress(OSError):  # the disk is full: the way back needs no space
        journal.write_journal(instance.home, msgspec.structs.replace(failed, step=Step.RETURN))
    found = database.find_database(instance.env)
    migrated = found is not None and (found.read_schema() or 0) > (failed.schema or 0) > 0
    if found is not None and migrated and failed.schema is not None:
        serving.stop_gateway(instance, by_service=run is not None and run.by_service)
        refused = _return_database(found, failed, failed.schema)
        if refused is not None:
            return _stay(instance, failed, said, refused)
    environment.exchange_back(site, failed)
    if run is not None:
        replaced = not migrated and not serving.replace_gateway(instance, failed.from_version, "update undone").why
        if not replaced:
            serving.stop_gateway(instance, by_service=run.by_service)
            serving.start_gateway(instance, run)
    environment.remove_directory(site.candidate)
    environment.restore_former_copy(site)
    journal.remove_journal(instance.home)
    serves = f"Version {failed.from_version} serves again" if run is not None else f"{failed.from_version} is back"
    return GatewayError(said, remedy=f"{serves}, and nothing is lost. See: gateway logs", details={"rolled_back": True})


def _return_database(found: Database, failed: Journal, schema: int) -> str | None:
    """Put the copy from before the migration back. Returns why not, if that would lose work or there is none."""
    copy = found.copy_of(schema)
    has_copy = copy.exists() and copy.stat().st_mtime_ns // 1_000_000 >= failed.began
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
            found.put_back(copy, None)
        case WayBack.DISCARD:
            found.put_back(copy, found.aside_of(failed.to_version))
        case WayBack.NO_COPY:
            return f"the database was migrated, and there is no copy of it from before ({copy.name})"
        case WayBack.REFUSE if work is not None:
            return f"the database was migrated, and then it took {work.describe()}"
    return None


def _stay(instance: Instance, failed: Journal, said: str, refused: str) -> GatewayError:
    """Let the other version go on, because the one from before would lose work."""
    journal.write_journal(instance.home, msgspec.structs.replace(failed, step=Step.FINISH))
    started = ""
    if failed.run is not None:
        try:
            serving.start_gateway(instance, failed.run)
        except GatewayError as error:
            started = f" It does not start: {error.message.rstrip('.')}."
    return Conflict(
        f"{said} It stays in place, because {refused}, which version {failed.from_version} could not read.{started}",
        remedy="See why it fails: gateway logs. To go back without that work:"
        " gateway update --rollback --discard-work-since-update (the present database is kept aside)",
        details={"rolled_back": False},
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
    schema = found.find_copy(newest)
    if schema is None:
        raise Conflict(
            f"version {version} cannot read the migrated database (schema {present}; it knows {newest}), and there is"
            f" no copy of it from before.",
            remedy="Restore the backup from before the update: gateway restore",
        )
    _require_no_loss(found, schema, version, may_discard)
    return schema


def _require_no_loss(found: Database, schema: int, version: str, may_discard: bool) -> None:
    work = found.find_new_work(found.copy_of(schema))
    if work.is_any and not may_discard:
        raise database.refuse_loss(work, version)


def restore_database(instance: Instance, present: Journal) -> None:
    """Put the copy of the database in place that a rollback needs; the gateway is stopped.

    Raises:
        Conflict: work came meanwhile that would be lost.
    """
    found = database.find_database(instance.env)
    schema = present.restore_schema
    if found is None or schema is None or (found.read_schema() or 0) <= schema:
        return  # it is in place already
    _require_no_loss(found, schema, present.to_version, present.discard)
    found.put_back(found.copy_of(schema), found.aside_of(present.from_version))


def serve_other_version(instance: Instance, present: Journal) -> Replaced:
    """Let the version that was put in place serve.

    Returns:
        What came of it.
    """
    run = present.run
    assert run is not None
    if serving.is_serving(instance, present.to_version):  # the update was interrupted after that
        return Replaced("")
    if present.restore_schema is None and serving.is_running(instance):
        return serving.replace_gateway(instance, present.to_version, f"update to {present.to_version}")
    try:
        serving.stop_gateway(instance, by_service=run.by_service)
        restore_database(instance, present)
        serving.start_gateway(instance, run)
    except GatewayError as error:
        return Replaced(error.message)
    return Replaced("")
