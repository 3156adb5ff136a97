"""Finds the id that the user means: a part of it, a name, or the newest one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import click

from cli.remote.client import GatewayClient, connect_to_gateway
from gateway.errors import NotFound, ScheduleNotFound

#: the id of an agent that was made with `gateway agents add`: a UUID
_GENERATED_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: schedules among which a name or a part of an id is looked for
MAX_LOOKED_UP_SCHEDULES = 10_000
#: least characters of a part of a schedule's id: fewer fit by accident where there is one schedule
MIN_SCHEDULE_PART_CHARACTERS = 4
#: schedules that are listed when a name or a part is ambiguous
MAX_LISTED = 5


def connect_for(kind: Literal["tasks", "deliveries"], id_: str | None, *, last: bool) -> tuple[GatewayClient, str]:
    """Return a client, and the id that the user gave, or with `--last` that of the newest entry.

    The gateway itself finds an id by a part of it.

    Raises:
        UsageError: neither an id nor `--last` was given, or both.
        NotFound: there is no entry.
    """
    if (id_ is None) == (not last):
        raise click.UsageError("Give an ID, or --last for the newest one.", click.get_current_context())
    if id_ is not None:
        _require_text(id_)
    client = connect_to_gateway()
    if id_ is not None:
        return client, id_
    newest: Sequence[Mapping[str, Any]] = client.get(f"/api/{kind}", limit=1)[kind]
    if not newest:
        raise NotFound(f"there are no {kind} yet.")
    return client, str(newest[0]["id"])


def find_schedule_id(client: GatewayClient, given: str) -> str:
    """Return the id of a schedule by its id, its name, or a unique part of its id.

    Raises:
        UsageError: nothing was given: the first schedule without a name would fit, and every id.
        ScheduleNotFound: none fits, or several do, which are listed.
    """
    _require_text(given)
    schedules = client.get_pages("/api/cron", "jobs", MAX_LOOKED_UP_SCHEDULES)["jobs"]
    for fits in (
        lambda one: one["id"] == given,
        lambda one: one["name"] == given,
        lambda one: one["name"].casefold() == given.casefold(),
        lambda one: len(given) >= MIN_SCHEDULE_PART_CHARACTERS and given.casefold() in one["id"].casefold(),
    ):
        found = [one for one in schedules if fits(one)]
        if len(found) == 1:
            return str(found[0]["id"])
        if found:
            listed = ", ".join(
                f"{one['id']} ({one['name']})" if one["name"] else one["id"] for one in found[:MAX_LISTED]
            )
            more = ", …" if len(found) > MAX_LISTED else ""
            raise ScheduleNotFound(f"{given[:64]!r} fits several schedules: {listed}{more}.", remedy="Give the id.")
    raise ScheduleNotFound(f"there is no schedule {given[:64]!r}.", remedy="See: gateway cron list")


def _require_text(given: str) -> None:
    """Refuse an empty id, such as that of a variable of the shell that is not set."""
    if not given.strip():
        raise click.UsageError("The ID is empty.", click.get_current_context())


def read_schedule_names(client: GatewayClient) -> Mapping[str, str]:
    """Return the names of the schedules by their ids; schedules without a name are left out."""
    found = client.get_pages("/api/cron", "jobs", MAX_LOOKED_UP_SCHEDULES)["jobs"]
    return {one["id"]: one["name"] for one in found if one["name"]}


def read_agent_names(client: GatewayClient, ids: Sequence[str]) -> Mapping[str, str]:
    """Return the names for people of agents that have another id, also of those that were removed."""
    if not any(_GENERATED_ID.fullmatch(id_) for id_ in ids):
        return {}
    found = client.get("/api/agents")
    return {**found["deleted"], **{agent["id"]: agent["slug"] for agent in found["agents"]}}
