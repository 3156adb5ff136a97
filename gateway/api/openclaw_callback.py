"""The callback that tells OpenClaw's clients that a run has ended."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from gateway.api import views
from gateway.api.routing import ServerContext
from gateway.domain.delivery import WEBHOOK_KIND, Target
from gateway.domain.run import Run
from gateway.domain.session import SessionKey
from gateway.errors import InvalidRequest

#: the format of a delivery that has this body
CALLBACK_FORMAT = "openclaw"
#: labels of a run that keep the names that its caller used
SESSION_LABEL, AGENT_LABEL = "sessionKey", "agentId"


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
    usage: views.UsageNumbers
    finished_at: str | None = field(name="finishedAt")


def choose_callback_targets(server: ServerContext, asked: str | None = None) -> tuple[Target, ...]:
    """Return where the callback of a run goes: to the URL that its caller gave, else to the one in the settings.

    Raises:
        InvalidRequest: nothing may be sent to the URL that the caller gave.
    """
    if asked is not None:
        try:
            return (server.engine.deliveries.make_webhook_target(asked, CALLBACK_FORMAT),)
        except InvalidRequest as error:
            raise InvalidRequest(error.message.replace("webhook", "callbackUrl", 1), remedy=error.remedy) from error
    configured = server.config.hooks.callback_url
    return (
        ()
        if configured is None
        else (Target(kind=WEBHOOK_KIND, address=configured, format=CALLBACK_FORMAT, trusted=True),)
    )


def callers_session_name(run: Run) -> str:
    """Return a run's session by the name that its caller used."""
    key = SessionKey.parse_key(run.spec.session)
    assert key is not None, "every route makes whole session keys"
    return run.spec.labels.get(SESSION_LABEL, key.chat)


def encode_callback(run: Run) -> bytes:
    """Return the callback's body for a run that has ended."""
    told = Callback(
        session_key=callers_session_name(run),
        run_id=run.id,
        agent_id=run.spec.labels.get(AGENT_LABEL, run.spec.agent),
        status=run.status,
        result=run.result,
        error=run.error,
        usage=views.UsageNumbers(**msgspec.structs.asdict(run.usage)),
        finished_at=views.render_time(run.finished),
    )
    return msgspec.json.encode(told)
