"""Opens a turn's session in an agent's process, and sets its model and its mode."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from acp.schema import SessionConfigOptionSelect

from gateway.backends.acp.connection import AgentConnection, LoadedSession
from gateway.domain.ports.backend import Turn
from gateway.errors import AgentError


class SessionOpener:
    """Opens the session of one turn."""

    def __init__(self, connection: AgentConnection, turn: Turn, mode: str | None) -> None:
        self._connection = connection
        self._turn = turn
        self._mode = mode

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
                    again(cwd=turn.workspace, session_id=known), "did not resume its session"
                )
            except AgentError as error:
                del connection.loaded_sessions[known]
                lost = str(error)
            else:
                self._note_options(known, opened)
                await self._choose_model_and_mode(known)
                return known, None
        elif known is not None:
            lost = "the agent cannot resume a conversation"
        opened = await connection.await_answer(
            connection.agent.new_session(cwd=turn.workspace), "did not open a session"
        )
        connection.loaded_sessions[opened.session_id] = LoadedSession()
        self._note_options(opened.session_id, opened)
        await self._choose_model_and_mode(opened.session_id)
        return opened.session_id, lost

    def _note_options(self, session: str, opened: Any) -> None:
        """Note the options of an opened session; its cost until now belongs to earlier processes."""
        note = self._connection.loaded_sessions[session]
        note.options = [one for one in opened.config_options or () if isinstance(one, SessionConfigOptionSelect)]
        note.has_modes = opened.modes is not None
        note.settled_cost = note.cost

    async def _choose_model_and_mode(self, session: str) -> None:
        """Set the model and the mode, if the agent has such options.

        Raises:
            AgentError: the agent has no such option, or refuses the value.
        """
        model = self._turn.model or self._turn.agent.model
        note = self._connection.loaded_sessions[session]
        for wanted, category in ((model, "model"), (self._mode, "mode")):
            option = next((one for one in note.options if one.category == category or one.id == category), None)
            if option is not None:
                await self._set_option(session, option, wanted)
            elif wanted is None:
                continue
            elif category == "mode" and note.has_modes:
                await self._send_choice(self._connection.agent.set_session_mode(session_id=session, mode_id=wanted))
            else:
                raise AgentError(f"the agent has no option for its {category}, so {wanted!r} cannot be set.")

    async def _set_option(self, session: str, option: SessionConfigOptionSelect, wanted: str | None) -> None:
        """Set an option; if this turn names no value, restore the value from before earlier turns changed it."""
        changed = self._connection.loaded_sessions[session].changed_options
        if wanted is None and option.id not in changed:
            return
        changed.add(option.id)
        value = option.current_value if wanted is None else wanted
        await self._send_choice(
            self._connection.agent.set_config_option(config_id=option.id, session_id=session, value=value)
        )

    async def _send_choice(self, setting: Awaitable[Any]) -> None:
        await self._connection.await_answer(setting, "did not accept the option")
