"""Send a message as if a person had written it in a chat: `POST /api/message` and `/api/message/sync`."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.api import fields, views
from gateway.api.attachments import Attachments, limit_body_with_files, receive_attachments
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.delivery import CHAT_FORMAT, Target
from gateway.domain.event import Notice
from gateway.domain.run import Run, RunSpec, Source
from gateway.domain.session import SessionKey
from gateway.domain.token import Scope
from gateway.errors import InvalidRequest

ROUTES = Routes("messages")

#: the name of the one account that each channel has
ONLY_ACCOUNT = "default"


class Say(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message in a chat."""

    #: name of the channel
    channel: fields.ChannelName
    chat_id: fields.Chat
    #: the message
    content: fields.Prompt
    #: id or slug of the agent; the default agent when left out
    agent_id: fields.AgentName | None = field(default=None, name="agentId")
    account_id: (
        Annotated[
            str,
            Meta(
                description="The account of the channel. Each channel has one account, which is called `default`.",
                extra_json_schema={"enum": [ONLY_ACCOUNT]},
            ),
        ]
        | None
    ) = field(default=None, name="accountId")
    attachments: Attachments | UnsetType = UNSET


class Said(Struct, frozen=True, kw_only=True):
    """The message is on disk; the agent will answer in the chat."""

    status: str = "ok"
    #: id of the run that answers it
    message_id: str


class Replied(Struct, frozen=True, kw_only=True):
    """The agent's reply, which is also sent to the chat."""

    status: str = "ok"
    reply: str
    #: files that the agent made, which are also sent to the chat
    files: list[views.FileShown]
    #: why the reply ended: stop, or length or content_filter if it was cut; null for a run of an older version
    finish: str | None
    #: id of the run that answered it
    message_id: str
    #: key of the session
    session: str
    #: true if the agent had lost its conversation, began a new one, and was given the transcript
    session_restarted: bool | UnsetType = UNSET
    #: true if the oldest turns were left out, because the model could not read the whole conversation
    context_shortened: bool | UnsetType = UNSET


@ROUTES.add("POST", "/api/message", scope=Scope.WRITE, body=Say, answer=Said, body_limit=limit_body_with_files)
async def say(call: Call[Say, Nothing]) -> Said:
    """Send a message in a chat; the agent's reply goes to that chat."""
    return Said(message_id=(await _submit_message(call)).id)


@ROUTES.add("POST", "/api/message/sync", scope=Scope.WRITE, body=Say, answer=Replied, body_limit=limit_body_with_files)
async def say_and_wait(call: Call[Say, Nothing]) -> Replied:
    """Send a message in a chat and wait for the reply, which also goes to that chat."""
    run = await _submit_message(call)
    ended = await call.wait_for_run(run.id, call.server.config.limits.wait_seconds)
    return Replied(
        reply=views.result_or_raise(ended),
        files=views.render_files(ended.files),
        finish=ended.finish,
        message_id=run.id,
        session=run.spec.session,
        session_restarted=views.tell_notice(ended, Notice.SESSION_RESTARTED),
        context_shortened=views.tell_notice(ended, Notice.CONTEXT_SHORTENED),
    )


async def _submit_message(call: Call[Say, Nothing]) -> Run:
    said = call.body
    _check_account(said)
    deliver: tuple[Target, ...] = ()
    if call.engine.channels.sends_replies(said.channel):
        deliver = (Target(kind=said.channel, address=said.chat_id, format=CHAT_FORMAT),)
        key = await call.engine.channels.current_session_key(said.channel, said.chat_id, said.agent_id)
    else:
        key = SessionKey.from_parts(call.engine.agents.choose_agent(said.agent_id).id, said.channel, said.chat_id)
    async with receive_attachments(call, said.attachments) as given:
        spec = RunSpec(
            source=Source.MESSAGE,
            agent=key.agent,
            session=str(key),
            input=said.content,
            attachments=given.files,
            deliver=deliver,
        )
        run = (await call.engine.runs.submit_run(spec, call.read_idempotency_key(given.files), staged=given.staged)).run
    call.headers["X-Run-Id"] = run.id
    return run


def _check_account(said: Say) -> None:
    """Refuse an account that the channel does not have.

    Raises:
        InvalidRequest: the message names another account.
    """
    if said.account_id not in (None, ONLY_ACCOUNT):
        raise InvalidRequest(
            f'accountId: the channel {said.channel!r} has one account, which is called "{ONLY_ACCOUNT}".',
            remedy=f'Leave accountId out, or send "{ONLY_ACCOUNT}".',
        )
