"""What is told of errors of the server."""

from __future__ import annotations

import msgspec
import psycopg
from psycopg import errors

from gateway.errors import StorageFull, Unavailable
from gateway.store.postgres.faults import first_line


def translate_error(error: Exception, where: str) -> Exception:
    """Return the error to raise to the caller for an error of the database; the same one if it tells nothing of it.

    Args:
        where: the database, as `describe_server` names it.
    """
    if isinstance(error, errors.DiskFull):
        return StorageFull(f"the disk of {where} is full: nothing was accepted.", remedy="Free some space.")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Unavailable(f"{where} is read-only now.", remedy="Look at the server: is it still the primary?")
    if isinstance(error, errors.LockNotAvailable):
        return Unavailable(
            f"other members keep {where} busy.", remedy="Look at gateway status --fleet, and at the server."
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not isinstance(
        error, errors.QueryCanceled
    ):
        return Unavailable(f"{where} cannot be used: {first_line(error)}.", remedy="Look at the server, or wait.")
    if isinstance(error, msgspec.DecodeError | ValueError) and not isinstance(error, UnicodeEncodeError):
        return Unavailable(f"{where} has a row that cannot be read: {error}.", remedy="Restore a backup.")
    return error
