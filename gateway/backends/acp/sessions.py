"""Opens a turn's session in an agent's process, and sets its model and its mode."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from acp.schema import SessionConfigOptionSelect

from gateway.backends.acp.connection import AgentConnection, LoadedSession
from gateway.backends.acp.modes import ModeKeeper, find_option, list_values
from gateway.domain.ports.backend import Turn
from gateway.errors import AgentError

#: asks claude-agent-acp to tell the failed tries of its model; others ignore it
_META: dict[str, Any] = {"claudeCode": {"emitRawSDKMessages": [{"type": "system", "subtype": "api_retry"}]}}


class SessionOpener:
    """Opens the session of one turn."""

    def __init__(self, connection: AgentConnection, turn: Turn, modes: ModeKeeper) -> None:
        self._connection = connection
        self._turn = turn
        self._modes = modes

    async def open_session(self) -> tuple[str, str | None]:
        """Return the session; with a new one, also what has become of the earlier one, if there was one."""
        connection, turn, lost = self._connection, self._turn, "the agent has no conversation for this session"
        known = turn.session_ref
        if known is not None and known in connection.loaded_sessions:
            await self._choose_model_and_mode(known)
            return known, None
        if known is not None and (connection.can_resume or connection.can_load):
            again = connection.agent.resume_session if connection.can_resume else connection.agent.load_session
            connection.loaded_sessions[known] = LoadedSession()
            try:
                opened = await connection.await_answer(
                    again(cwd=turn.workspace, session_id=known, **_META), "did not resume its session"
                )
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
        opened = await connection.await_answer(
            connection.agent.new_session(cwd=turn.workspace, **_META), "did not open a session"
        )
        connection.loaded_sessions[opened.session_id] = LoadedSession()
        self._note_options(opened.session_id, opened)
        await self._choose_model_and_mode(opened.session_id)
        return opened.session_id, lost

    def _note_options(self, session: str, opened: Any) -> None:
        """Note the options of an opened session; its cost until now belongs to earlier processes."""
        note = self._connection.loaded_sessions[session]
        note.options = [one for one in opened.config_options or () if isinstance(one, SessionConfigOptionSelect)]
        if opened.modes is not None:
            note.modes = [mode.id for mode in opened.modes.available_modes]
            note.first_mode = opened.modes.current_mode_id
        note.settled_cost = note.cost

    async def _choose_model_and_mode(self, session: str) -> None:
        """Set the model and the mode, if the agent has such options.

        Raises:
            AgentError: the agent has no such option, or refuses the value; or its permissions would not hold.
        """
        note = self._connection.loaded_sessions[session]
        await self._choose_mode(session, note)
        wanted = self._turn.model or self._turn.agent.model
        option = find_option(note.options, "model")
        if option is not None:
            await self._set_option(session, option, wanted)
        elif wanted is not None:
            raise _explain_missing_option("model", wanted)

    async def _choose_mode(self, session: str, note: LoadedSession) -> None:
        option = find_option(note.options, "mode")
        offered = note.modes if option is None else list_values(option)
        wanted = self._modes.choose_mode(offered, note.first_mode if option is None else option.current_value)
        if note.is_mode_allowed:
            return
        if option is not None:
            answer = await self._set_option(session, option, wanted)
            now = None if answer is None or wanted is None else find_option(answer.config_options, "mode")
            if now is not None and now.current_value != wanted:
                raise AgentError(f"the agent has not set its mode to {wanted!r}; it is {now.current_value!r}.")
        elif wanted is None:
            return
        elif note.modes:
            await self._send_choice(self._connection.agent.set_session_mode(session_id=session, mode_id=wanted))
        else:
            raise _explain_missing_option("mode", wanted)

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


def _explain_missing_option(category: str, wanted: str) -> AgentError:
    return AgentError(f"the agent has no option for its {category}, so {wanted!r} cannot be set.")
