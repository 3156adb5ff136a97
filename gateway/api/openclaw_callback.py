"""Word of a run's end, as OpenClaw's clients read it."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from gateway.api import views
from gateway.api.routing import Surroundings
from gateway.domain.delivery import WEBHOOK, Target
from gateway.domain.run import Run
from gateway.domain.session import SessionKey
from gateway.errors import InvalidRequest

#: the name of the body below, in deliveries
FORMAT = "openclaw"
#: labels of a run that keep what its caller called things
SESSION, AGENT = "sessionKey", "agentId"


class Callback(Struct, frozen=True, kw_only=True):
    """What is posted when a run has ended."""

    #: as the caller named it
    session_key: str = field(name="sessionKey")
    run_id: str = field(name="runId")
    #: as the caller named it
    agent_id: str = field(name="agentId")
    #: succeeded, failed or cancelled
    status: str
    result: str | None
    error: str | None
    usage: views.UsageShown
    finished_at: str | None = field(name="finishedAt")


def targets(server: Surroundings, asked: str | None = None) -> tuple[Target, ...]:
    """Return where word of a run's end goes: where its caller asks, else where the settings say.

    Raises:
        InvalidRequest: nothing may be sent where the caller asks.
    """
    if asked is not None:
        try:
            return (server.engine.deliveries.webhook(asked, FORMAT),)
        except InvalidRequest as error:
            raise InvalidRequest(error.message.replace("webhook", "callbackUrl", 1), remedy=error.remedy) from error
    configured = server.config.hooks.callback_url
    return () if configured is None else (Target(kind=WEBHOOK, address=configured, format=FORMAT, trusted=True),)


def session_name(run: Run) -> str:
    """Return what a run's caller called its session."""
    key = SessionKey.parse(run.spec.session)
    assert key is not None, "front doors make session keys"
    return run.spec.labels.get(SESSION, key.chat)


def body(run: Run) -> bytes:
    """Return the body that tells of a run's end."""
    told = Callback(
        session_key=session_name(run),
        run_id=run.id,
        agent_id=run.spec.labels.get(AGENT, run.spec.agent),
        status=run.status,
        result=run.result,
        error=run.error,
        usage=views.usage(run.usage),
        finished_at=views.moment(run.finished),
    )
    return msgspec.json.encode(told)
