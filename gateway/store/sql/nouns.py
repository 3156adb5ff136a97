"""The operations on one noun: functions that take a `Reader` or a `Transaction` first become methods.

`in_read`, `in_write` and `in_audited_write` turn one into a method that runs it on the database; its other parameters
and its result stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from gateway.domain.actor import CURRENT_ACTOR
from gateway.domain.audit import AuditNote
from gateway.store.sql import audit
from gateway.store.sql.database import Database
from gateway.store.sql.transaction import Reader, Transaction

P = ParamSpec("P")
R = TypeVar("R")


class NounStore:
    """The operations on one noun. Its methods run on the database."""

    def __init__(self, database: Database) -> None:
        self.database = database


def in_write(
    operation: Callable[Concatenate[Transaction, P], R], *, alone: bool = False
) -> Callable[Concatenate[NounStore, P], Coroutine[Any, Any, R]]:
    """Return a method that runs an operation in a transaction; when it returns, the transaction is on disk.

    Args:
        alone: whether the transaction has no other operation.
    """

    async def write(noun: NounStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await noun.database.write(lambda tx: operation(tx, *args, **kwargs), alone=alone)

    return write


def in_audited_write(
    operation: Callable[Concatenate[Transaction, P], R], describe: Callable[..., AuditNote | None]
) -> Callable[Concatenate[NounStore, P], Coroutine[Any, Any, R]]:
    """Return a method as `in_write` does, whose transaction also adds to the audit log.

    Args:
        describe: returns what the log says; it gets what the operation returned, and the arguments.
    """

    async def write(noun: NounStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        actor = CURRENT_ACTOR.get()  # of the caller: the transaction is made by another thread

        def change(tx: Transaction) -> R:
            return operation(tx, *args, **kwargs)

        def describe_change(result: R) -> AuditNote | None:
            return describe(result, *args, **kwargs)

        return await noun.database.write(lambda tx: audit.add_entry_of_change(tx, actor, change, describe_change))

    return write


def in_read(query: Callable[Concatenate[Reader, P], R]) -> Callable[Concatenate[NounStore, P], Coroutine[Any, Any, R]]:
    """Return a method that runs a query on a read-only connection; it sees everything that is committed."""

    async def read(noun: NounStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await noun.database.read(lambda reader: query(reader, *args, **kwargs))

    return read
