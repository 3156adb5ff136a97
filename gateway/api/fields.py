"""What clients send: the types of fields that several routes read."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gateway.domain.ids import SLUG
from gateway.domain.session import CHAT_LENGTH

#: a text for an agent
Prompt = Annotated[str, Meta(min_length=1, description="What to tell the agent.")]
#: a channel's name
Word = Annotated[str, Meta(pattern=SLUG)]
#: an agent's id, as a caller names it
AgentName = Annotated[str, Meta(min_length=1, max_length=128)]
#: the id of a run, or a unique prefix of it
RunId = Annotated[str, Meta(min_length=1, max_length=26)]
#: words that a caller puts on a run, to find it again as `name=value`
Labels = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"^[^=\x00-\x1f\x7f]{1,64}$(?!\n)")],
        Annotated[str, Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")],
    ],
    Meta(max_length=32),
]
#: no position in a log is beyond it
LAST = 10**18 - 1
#: how long something may take
Seconds = Annotated[float, Meta(gt=0, le=604_800)]
#: what a webhook is to be signed with; kept with its task, and never shown
WebhookSecret = Annotated[str, Meta(pattern=r"^whsec_[A-Za-z0-9+/]{32,128}={0,2}$(?!\n)", max_length=140)]
#: a chat of a channel, a session's own name
Chat = Annotated[str, Meta(min_length=1, max_length=CHAT_LENGTH)]
#: a task of another system, which names a session and a label
TaskName = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,100}$(?!\n)")]
#: a chat of the route's own channel, or a session's full key
SessionName = Annotated[str, Meta(min_length=1, max_length=2 * 65 + CHAT_LENGTH)]
