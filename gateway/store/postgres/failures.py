"""What is told of errors of the server."""

from __future__ import annotations

import msgspec
import psycopg
from psycopg import errors

from gateway.errors import StorageFull, Unavailable
from gateway.store.postgres.faults import explain_loss, first_line


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
    if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
        return Unavailable(
            f"{where} is damaged: {first_line(error)}.", remedy="Stop the gateways, and restore a backup."
        )
    if isinstance(error, _UNUSABLE_SERVER):
        return explain_loss(error, where)
    if isinstance(error, msgspec.DecodeError | ValueError) and not isinstance(error, UnicodeEncodeError):
        return Unavailable(f"{where} has a row that cannot be read: {error}.", remedy="Restore a backup.")
    return error


#: errors of the server and of the way to it. The others mean a bug of ours: they are not translated, so that they are
#: noticed
_UNUSABLE_SERVER = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.InternalError_,
)
