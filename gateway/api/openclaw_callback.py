"""The callback that tells OpenClaw's clients that a run has ended."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from gateway.api import views
from gateway.api.routing import Surroundings
from gateway.domain.delivery import WEBHOOK, Target
from gateway.domain.run import Run
from gateway.domain.session import SessionKey
from gateway.errors import InvalidRequest

#: the format of a delivery that has this body
FORMAT = "openclaw"
#: labels of a run that keep the names that its caller used
SESSION, AGENT = "sessionKey", "agentId"


class Callback(Struct, frozen=True, kw_only=True):
    """The body that is posted when a run has ended."""

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
    """Return where the callback of a run goes: to the URL that its caller gave, else to the one in the settings.

    Raises:
        InvalidRequest: nothing may be sent to the URL that the caller gave.
    """
    if asked is not None:
        try:
            return (server.engine.deliveries.webhook(asked, FORMAT),)
        except InvalidRequest as error:
            raise InvalidRequest(error.message.replace("webhook", "callbackUrl", 1), remedy=error.remedy) from error
    configured = server.config.hooks.callback_url
    return () if configured is None else (Target(kind=WEBHOOK, address=configured, format=FORMAT, trusted=True),)


def session_name(run: Run) -> str:
    """Return a run's session by the name that its caller used."""
    key = SessionKey.parse(run.spec.session)
    assert key is not None, "every route makes whole session keys"
    return run.spec.labels.get(SESSION, key.chat)


def body(run: Run) -> bytes:
    """Return the callback's body for a run that has ended."""
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
