"""The models that an opencode server of version 1 offers: those of its configuration, and of its providers."""

from __future__ import annotations

import contextlib
import time

import msgspec

from gateway.backends.opencode.api import OpencodeApi
from gateway.domain.agent import Agent
from gateway.domain.newest import NewestValues
from gateway.domain.offer import Offer, OtherModels, make_choices
from gateway.errors import AgentError

#: seconds that the list of a server may take, and seconds after which it is read again
_LIST_TIMEOUT_SECONDS, _LIST_SECONDS = 3.0, 600.0


class Offers:
    """What the servers of the agents offered at last."""

    def __init__(self) -> None:
        #: by the agents' ids: the offer, and until when it is new
        self._known: NewestValues[str, tuple[Offer, float]] = NewestValues()

    def find(self, agent: Agent) -> Offer | None:
        """Return what an agent offers; after a while, it may take models that it did not list."""
        offer, until = self._known.get(agent.id, (None, 0.0))
        if offer is None or time.monotonic() < until:
            return offer
        return msgspec.structs.replace(offer, other_models=OtherModels.ANY)

    async def refresh(self, agent: Agent, api: OpencodeApi, directory: str) -> None:
        """Read what an agent offers in a directory that its server has prepared, unless that is known and new."""
        if time.monotonic() < self._known.get(agent.id, (None, 0.0))[1]:
            return
        with contextlib.suppress(AgentError, TimeoutError):
            providers = await api.list_providers(directory, _LIST_TIMEOUT_SECONDS)
            named = [
                (f"{provider.id}/{id_}", model.name or id_)
                for provider in providers
                for id_, model in provider.models.items()
            ]
            kept, is_complete = make_choices(named)
            other = OtherModels.NONE if is_complete else OtherModels.ANY
            self._known[agent.id] = Offer(models=kept, other_models=other), time.monotonic() + _LIST_SECONDS
