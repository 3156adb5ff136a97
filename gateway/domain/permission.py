"""Permissions: what an agent asks to be allowed, and how it is answered."""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct

#: characters of what is asked for
ACTION = 500


class Answer(StrEnum):
    """What an agent may be told."""

    ALLOW = "allow"
    #: this time and whenever it asks for the same again, as far as the agent itself remembers that
    ALLOW_ALWAYS = "allow_always"
    DENY = "deny"


class Lapse(StrEnum):
    """Why a request was denied though nobody said so."""

    #: nobody has answered in time
    DEADLINE = "deadline"
    #: the agent does not wait for an answer any more
    WITHDRAWN = "withdrawn"


class Wanted(Struct, frozen=True, kw_only=True):
    """Something that an agent asks to be allowed."""

    #: in words for people
    action: str
    #: what it can be told
    choices: tuple[Answer, ...] = (Answer.ALLOW, Answer.DENY)


class PermissionRequest(Struct, frozen=True, kw_only=True):
    """A request that is on disk. Times are milliseconds since 1970 UTC."""

    #: id of the run
    run: str
    #: 1 for the run's first request, over all its attempts
    n: int
    #: number of the event that tells of it
    event: int
    action: str
    choices: tuple[Answer, ...]
    asked: int
    #: when it is denied unless somebody has answered
    expires: int
    answer: Answer | None = None
    answered: int | None = None
    #: name of the token that answered
    by: str = ""
    #: why it was denied, if nobody answered
    lapse: Lapse | None = None

    @property
    def id(self) -> str:
        return request_id(self.n)


def request_id(n: int) -> str:
    """Return what a run's n-th request is called."""
    return f"p{n}"


def request_number(name: str) -> int | None:
    """Return the number of the request that is called so; None if none ever is."""
    return int(name[1:]) if re.fullmatch(r"p[1-9][0-9]{0,8}", name, re.ASCII) else None
