"""What clients send: the types of fields that several routes read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.domain import times
from gateway.domain.ids import SLUG_PATTERN
from gateway.domain.session import MAX_CHAT_CHARACTERS
from gateway.errors import InvalidRequest
from gateway.security.unsafe_text import name_pattern

#: a name that people see: nothing in it is invisible, or changes how the text around it is shown
SHOWN_NAME_PATTERN = name_pattern()
#: what an agent is told
Prompt = Annotated[str, Meta(min_length=1, description="What to tell the agent.")]
#: a channel's name
ChannelName = Annotated[str, Meta(pattern=SLUG_PATTERN)]
#: the id or slug of an agent
AgentName = Annotated[str, Meta(min_length=1, max_length=128)]
#: the id of a run, or any unique part of it
RunId = Annotated[str, Meta(min_length=1, max_length=26)]
#: labels of a run, by which a caller finds it: `name=value`
Labels = Annotated[
    dict[
        Annotated[str, Meta(pattern=name_pattern(64, refused="="))],
        Annotated[str, Meta(max_length=256, pattern=SHOWN_NAME_PATTERN)],
    ],
    Meta(max_length=32),
]
#: the highest position in a log
MAX_LOG_POSITION = 10**18 - 1
#: how long a run may take
Seconds = Annotated[float, Meta(gt=0, le=604_800)]
#: what people call a session
SessionTitle = Annotated[str, Meta(pattern=name_pattern(100))]
#: the secret that a webhook is signed with; it is kept with its task and never shown
WebhookSecret = Annotated[str, Meta(pattern=r"^whsec_[A-Za-z0-9+/]{32,128}={0,2}$(?!\n)", max_length=140)]
#: the id of a chat in a channel
Chat = Annotated[str, Meta(min_length=1, max_length=MAX_CHAT_CHARACTERS)]
#: the id of a task in another system; it becomes part of a session key and a label
TaskName = Annotated[str, Meta(pattern=name_pattern(100))]
#: a name of a session in the route's own channel, or a session's full key
SessionName = Annotated[str, Meta(min_length=1, max_length=2 * 65 + MAX_CHAT_CHARACTERS)]
#: how many of the last outcomes of each thing are shown, and how many when a client does not say
EachCount = Annotated[int, Meta(ge=1, le=100)]
DEFAULT_EACH_COUNT = 30
#: the form in which texts that are Markdown are added to an answer
Rendering = Literal["html"]
#: a moment in a query, for `parse_moment`: as a datetime, it would also be read from a number
Moment = Annotated[str, Meta(max_length=64, extra_json_schema={"format": "date-time"})]


def parse_moment(name: str, given: str) -> int:
    """Return a moment in milliseconds since 1970 UTC.

    Args:
        name: the field, for the message.

    Raises:
        InvalidRequest: it is not RFC 3339 with a time zone, or lies outside of the years that can be shown.
    """
    try:
        return times.to_milliseconds(msgspec.convert(given, Annotated[datetime, Meta(tz=True)]).astimezone(UTC))
    except msgspec.ValidationError:
        raise InvalidRequest(f"{name}: send a time as in RFC 3339, such as 2026-11-21T09:00:00Z.") from None
    except OverflowError:
        raise InvalidRequest(f"{name}: must lie in the years 1 to 9999, in UTC.") from None
