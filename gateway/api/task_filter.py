"""Which tasks a request is about: the filter that the list, the counts and the batches of tasks share."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.api import fields
from gateway.api.routing import Call
from gateway.domain.run import RunFilter, Source, Status
from gateway.domain.search import MAX_QUERY_CHARACTERS, parse_terms
from gateway.domain.session import SessionKey
from gateway.errors import SessionNotFound


class TaskFilter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tasks; what is left out matches all."""

    #: only tasks of this agent, by its id or slug
    agent: str | None = None
    #: only tasks of this session, by its key or name
    session: str | None = None
    #: `name=value`, or a name alone
    label: Annotated[str, Meta(max_length=400)] | None = None
    #: only tasks that came from there, such as cron or openai
    source: Source | None = None
    #: only tasks that are part of this one, by its id or any unique part of it
    parent: fields.RunId | None = None
    #: only tasks with these words in their prompt or answer, written as for `GET /api/search`
    text: Annotated[str, Meta(min_length=1, max_length=MAX_QUERY_CHARACTERS)] | None = None
    #: only tasks that were created at this time or later; RFC 3339 with a time zone
    since: fields.Moment | None = None
    #: only tasks that were created before this time; RFC 3339 with a time zone
    until: fields.Moment | None = None


class StatusFilter(TaskFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tasks, also by their status."""

    #: only tasks with this status, or with one of several; in a query with commas between them
    status: Status | Annotated[list[Status], Meta(min_length=1, max_length=len(Status))] | None = None


async def read_filter(call: Call[Any, Any], asked: TaskFilter) -> RunFilter:
    """Return the filter that a request asks for.

    Raises:
        InvalidRequest: a time is out of range, or `text` has no word.
        SessionNotFound, RunNotFound: there is no such session, or no such parent.
    """
    named = None if asked.agent is None else call.engine.agents.find_by_name(asked.agent)
    return RunFilter(
        statuses=_list_statuses(asked.status) if isinstance(asked, StatusFilter) else (),
        agent=named.id if named else asked.agent,
        session=None if asked.session is None else await _find_session_key(call, asked.session),
        label=asked.label,
        source=asked.source,
        parent=None if asked.parent is None else (await call.engine.runs.get_run(asked.parent)).id,
        text=() if asked.text is None else parse_terms(asked.text, field="text"),
        since=None if asked.since is None else fields.parse_moment("since", asked.since),
        until=None if asked.until is None else fields.parse_moment("until", asked.until),
    )


def _list_statuses(given: Status | list[Status] | None) -> tuple[Status, ...]:
    several = given if isinstance(given, list) else [] if given is None else [given]
    return tuple(dict.fromkeys(several))


async def _find_session_key(call: Call[Any, Any], name: str) -> str:
    """Return the key of a session by its name; a full key is also good when its session is gone."""
    try:
        return (await call.engine.sessions.get_session(name)).key
    except SessionNotFound:
        if SessionKey.parse_key(name) is None:
            raise
        return name
