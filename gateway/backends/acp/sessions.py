"""Opens a turn's session in an agent's process, and sets its model and its mode."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple

from acp.schema import NewSessionResponse, SessionConfigOptionSelect

from gateway.backends.acp.connection import AgentConnection, LoadedSession
from gateway.backends.acp.failures import SignInNeeded
from gateway.backends.acp.models import ModelList, describe_offer, find_value, list_named_values, read_models
from gateway.backends.acp.modes import ModeKeeper, find_option
from gateway.domain.offer import Offer, OtherModels
from gateway.domain.ports.backend import Turn
from gateway.errors import AgentError

#: asks claude-agent-acp to tell the failed tries of its model; others ignore it
_META: dict[str, Any] = {"claudeCode": {"emitRawSDKMessages": [{"type": "system", "subtype": "api_retry"}]}}


class _Opened(NamedTuple):
    """An agent's answer to a request to open a session."""

    answer: NewSessionResponse
    #: the models, as a field that the library does not know
    models: ModelList | None


class SessionOpener:
    """Opens the session of one turn.

    Args:
        other_models: which models the agent takes that it does not list.
    """

    def __init__(self, connection: AgentConnection, turn: Turn, modes: ModeKeeper, other_models: OtherModels) -> None:
        self._connection = connection
        self._turn = turn
        self._modes = modes
        self._other_models = other_models
        #: what the agent offers, once it has opened the session
        self.offer: Offer | None = None

    async def open_session(self) -> tuple[str, str | None]:
        """Return the session; with a new one, also what has become of the earlier one, if there was one."""
        connection, lost = self._connection, "the agent has no conversation for this session"
        known = self._turn.session_ref
        if known is not None and known in connection.loaded_sessions:
            connection.loaded_sessions[known] = connection.loaded_sessions.pop(known)  # the last one is the newest
            await self._choose_model_and_mode(known)
            return known, None
        await connection.close_old_sessions()
        if known is not None and (connection.can_resume or connection.can_load):
            connection.loaded_sessions[known] = LoadedSession()
            again = self._request_session("resume" if connection.can_resume else "load", sessionId=known)
            try:
                opened: _Opened = await connection.await_answer(again, "did not resume its session")
            except AgentError as error:
                del connection.loaded_sessions[known]
                lost = str(error)
            else:
                self._note_options(known, opened)
                await self._choose_model_and_mode(known)
                if connection.can_resume or await connection.wait_for_history(known):
                    return known, None
                del connection.loaded_sessions[known]
                lost = "the agent has loaded its session without a message"
        elif known is not None:
            lost = "the agent cannot resume a conversation"
        opened = await connection.await_answer(self._request_session("new"), "did not open a session")
        session = opened.answer.session_id
        connection.loaded_sessions[session] = LoadedSession()
        self._note_options(session, opened)
        await self._choose_model_and_mode(session)
        return session, lost

    async def _request_session(self, how: str, **more: str) -> _Opened:
        """Ask for a session. The library's own methods leave out the models.

        Raises:
            ValueError: the answer does not fit the protocol.
        """
        asked = {"cwd": self._turn.workspace, "mcpServers": [], "_meta": _META, **more}
        answer = await self._connection.send_request(f"session/{how}", asked)
        told: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
        return _Opened(NewSessionResponse.model_validate({**more, **told}), read_models(told.get("models")))

    def _note_options(self, session: str, opened: _Opened) -> None:
        """Note the options of an opened session; its cost until now belongs to earlier processes."""
        note, answer = self._connection.loaded_sessions[session], opened.answer
        note.options = [one for one in answer.config_options or () if isinstance(one, SessionConfigOptionSelect)]
        note.models = opened.models
        if answer.modes is not None:
            note.modes = answer.modes
        note.settled_cost = note.cost

    async def _choose_model_and_mode(self, session: str) -> None:
        """Set the model and the mode, if the agent has such options.

        Raises:
            AgentError: the agent has no such option, or refuses the value; or its permissions would not hold.
        """
        note = self._connection.loaded_sessions[session]
        self.offer = offer = describe_offer(note.options, note.models, note.modes, self._other_models)
        try:
            await self._choose_mode(session, note)
        except AgentError as error:
            _add_offered(error, [choice.id for choice in offer.modes or ()])
            raise
        note.told_mode = None  # what it told before is past; a model that is set may change the mode again
        try:
            await self._choose_model(session, note)
        except AgentError as error:
            wanted = self._turn.model or self._turn.agent.model
            _add_offered(error, [] if wanted is None else offer.find_near_models(wanted))
            raise

    async def _choose_mode(self, session: str, note: LoadedSession) -> None:
        option = find_option(note.options, "mode")
        modes = [] if note.modes is None else [mode.id for mode in note.modes.available_modes]
        first = None if note.modes is None else note.modes.current_mode_id
        offered = modes if option is None else dict(list_named_values(option))
        wanted = self._modes.choose_mode(offered, first if option is None else option.current_value)
        if note.allowed_mode is not None:
            return
        if option is not None:
            answer = await self._set_option(session, option, wanted)
            now = None if answer is None or wanted is None else find_option(answer.config_options, "mode")
            if now is not None and now.current_value != wanted:
                raise AgentError(f"the agent has not set its mode to {wanted!r}; it is {now.current_value!r}.")
        elif wanted is None:
            return
        elif modes:
            await self._send_choice(self._connection.agent.set_session_mode(session_id=session, mode_id=wanted))
        else:
            raise _explain_missing_option("mode", wanted)

    async def _choose_model(self, session: str, note: LoadedSession) -> None:
        wanted = self._turn.model or self._turn.agent.model
        option, models = find_option(note.options, "model"), note.models
        # The 2.x of codex has models that differ from the values of its option: they have an effort.
        is_listed = models is not None and wanted in models.ids
        if option is not None and not (is_listed and wanted not in dict(list_named_values(option))):
            value = None if wanted is None else find_value(option, wanted)
            note.told_mode = await self._set_option(session, option, value) or note.told_mode
        elif models is not None:
            if wanted is None and not note.is_model_changed:
                return
            note.is_model_changed = True
            chosen = {"sessionId": session, "modelId": models.current_model_id if wanted is None else wanted}
            await self._send_choice(self._connection.send_request("session/set_model", chosen))
        elif wanted is not None:
            raise _explain_missing_option("model", wanted)

    async def _set_option(self, session: str, option: SessionConfigOptionSelect, wanted: str | None) -> Any:
        """Set an option; if this turn names no value, restore the value from before earlier turns changed it.

        Returns:
            the agent's answer, or None if there was nothing to set.
        """
        changed = self._connection.loaded_sessions[session].changed_options
        if wanted is None and option.id not in changed:
            return None
        changed.add(option.id)
        value = option.current_value if wanted is None else wanted
        return await self._send_choice(
            self._connection.agent.set_config_option(config_id=option.id, session_id=session, value=value)
        )

    async def _send_choice(self, setting: Awaitable[Any]) -> Any:
        return await self._connection.await_answer(setting, "did not accept the option")


def _add_offered(error: AgentError, offered: Sequence[str]) -> None:
    """Add what the agent offers to an error about a choice, unless something else helps against it."""
    if error.remedy is None and offered and not isinstance(error, SignInNeeded):
        error.remedy = f"It offers {', '.join(offered)}."


def _explain_missing_option(category: str, wanted: str) -> AgentError:
    return AgentError(f"the agent has no option for its {category}, so {wanted!r} cannot be set.")
