"""What the two databases say in different words. All other statements are the same, as PostgreSQL translates them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.domain.page import Page
from gateway.domain.search import SearchHit, SearchQuery, SearchTerm

if TYPE_CHECKING:
    from gateway.domain.session import Message
    from gateway.store.sql.transaction import Connection, Reader, Rows, Transaction


class Dialect(NamedTuple):
    """The statements and functions of one database."""

    #: returns the number of the last change, 0 if there was none
    last_change: str
    #: returns the size of the database in bytes
    database_size: str
    #: returns id, name and address of each webhook to which enabled schedules deliver; takes a limit
    scheduled_webhooks: str
    #: is true of a schedule that has a label, which is its parameter
    has_label: str
    #: is true of a run that takes a place of its agent
    takes_place: str
    #: follows the conditions of a run that may begin: whether no worker was told to begin it, and one may be told
    not_dispatched: str
    #: whether runs are dispatched to workers, so that one that has not begun may take a place
    dispatches: bool
    #: follows the conditions of a run that is running or a delivery in flight: whether its owner is gone
    is_abandoned: str
    #: follows the conditions of a workspace: whether it is on this host
    on_this_host: str
    #: runs a statement whose rows are read one by one: together they may be too large for the memory
    stream: Callable[[Connection, str, Any], Rows]
    #: runs a statement that inserts one row; returns its `seq`
    insert: Callable[[Connection, str, Any], int]
    #: runs a statement that updates one row; returns a function that tells whether the row was there
    update: Callable[[Connection, str, Any], Callable[[], bool]]
    #: returns a number that changes with each row that is written, and never waits for the database
    count_writes: Callable[[Connection], int]
    #: whether the rows of a statement are known only after a wait, so that several statements better wait together
    answers_late: bool
    #: whether a text that is not UTF-8 hides the rows after it; PostgreSQL stores no such text
    may_hide_rows: bool
    #: returns the messages that match, newest first
    search_messages: Callable[[Reader, SearchQuery, Page], list[SearchHit]]
    #: returns the numbers of the runs of the newest messages that match, at most so many messages
    find_runs_of_messages: Callable[[Reader, tuple[SearchTerm, ...], int], list[int]]
    #: indexes the messages of a session that were just written, from this number on
    index_messages: Callable[[Transaction, str, int, Sequence[Message]], None]
    #: indexes some old messages again; returns whether there may be more of them
    reindex_message_batch: Callable[[Transaction], bool]
