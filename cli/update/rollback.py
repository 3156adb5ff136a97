"""What a rollback does to the database: the copy from before the migration takes its place, and it is kept aside."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

import gateway
from cli.instance import Instance
from cli.update import backup, database, ending, environment, journal, kept_environment, places
from cli.update.database import Database
from cli.update.installation import Installation
from cli.update.journal import Journal
from gateway.errors import Conflict, GatewayError


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
    version = kept_environment.read_kept_version(site, instance.env) or "the one before"
    last = journal.read_last_update(instance.home)
    is_last = last is not None and last.to_version == gateway.__version__ and last.from_version == version
    schema = last.schema_before if last is not None and is_last else found.find_copy(newest)
    if schema is None or not found.copy_of(schema).exists():
        name = found.copy_of(schema or newest)
        raise Conflict(
            f"version {version} cannot read the migrated database (schema {present}; it knows {newest}), and there is"
            f" no copy of it from before ({name}).",
            remedy=f"Nothing has changed. To go back all the same,"
            f" {backup.explain_restore(instance, site, last.backup if last is not None and is_last else None)}",
        )
    _require_no_loss(found, schema, version, may_discard)
    return schema


def _require_no_loss(found: Database, schema: int, version: str, may_discard: bool) -> None:
    """Refuse to go back to the copy from before a migration, if work would be lost that nobody has given up.

    Raises:
        Conflict: it would.
    """
    work = found.find_new_work(found.copy_of(schema))
    if work.is_any and not may_discard:
        raise Conflict(
            f"version {version} cannot read the migrated database, and the copy from before has not what came since"
            f" then: {work.describe()}.",
            remedy="Nothing has changed. To go back without it: gateway update --rollback --discard-work-since-update"
            " (the present database is kept aside)",
        )


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


def name_aside(instance: Instance, present: Journal) -> str:
    """Return the sentence that names the database that was put aside."""
    found = database.find_database(instance.env)
    place = present.aside if found is None else found.path.with_name(present.aside or "")
    return f"The database of version {present.from_version}, with all that came since the update, is kept: {place}"
