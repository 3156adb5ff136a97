"""Answers the requests of an editor: the methods of an ACP agent."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cli.acp import options, requests, sessions, updates
from cli.acp.connection import EditorConnection
from cli.acp.gateway_calls import GatewayCalls
from cli.acp.requests import parse_params
from cli.acp.sessions import EditorSession, EditorSessions
from cli.acp.turns import Turn
from cli.output import print_thread_note
from cli.remote.message_pipe import request_key
from gateway import __version__
from gateway.errors import AgentNotFound, GatewayError, InvalidRequest, Unavailable

#: the version of the protocol that is spoken here, whichever the editor offers
PROTOCOL_VERSION = 1
#: prompts that may be at work at the same time, over all sessions
MAX_PARALLEL_PROMPTS = 64

Handler = Callable[[Any], dict[str, Any]]


class AcpAgent:
    """Serves one editor until it closes the pipe. The runs that it started go on in the gateway."""

    def __init__(self, connection: EditorConnection, gateway: GatewayCalls) -> None:
        self._connection = connection
        self._gateway = gateway
        self._sessions = EditorSessions(gateway)
        self._shows_forms = False
        self._room = threading.Semaphore(MAX_PARALLEL_PROMPTS)
        #: turns at work, by the key of the request's id
        self._prompts: dict[str, Turn] = {}
        self._handlers: dict[str, Handler] = {
            "initialize": self._initialize,
            "session/new": self._create_session,
            "session/load": self._load_session,
            "session/resume": self._resume_session,
            "session/list": self._list_sessions,
            "session/set_mode": self._set_mode,
            "session/set_config_option": self._set_option,
        }

    def serve(self) -> None:
        """Answer requests, in their order. Only prompts take long, so each has a thread of its own."""
        for message in self._connection.read_requests():
            method, params = message["method"], message.get("params", {})
            if "id" not in message:
                self._take_notification(method, params)
            elif method == "session/prompt":
                self._answer(message["id"], self._start_prompt, message["id"], params)
            elif method in self._handlers:
                self._answer(message["id"], self._handle_request, message["id"], method, params)
            else:
                self._connection.send_unknown_method(message["id"], method)

    def _answer(self, id_: object, handle: Callable[..., None], *arguments: Any) -> None:
        """Handle a request. The editor gets every error as an answer."""
        try:
            handle(*arguments)
        except Exception as error:
            self._connection.send_error(id_, error)

    def _handle_request(self, id_: object, method: str, params: Any) -> None:
        self._connection.send_result(id_, self._handlers[method](params))

    def _take_notification(self, method: str, params: Any) -> None:
        try:
            self._handle_notification(method, params)
        except Exception as error:  # nobody waits for an answer
            print_thread_note(f"cannot read a notification of the editor: {self._connection.describe_error(error)}")

    def _handle_notification(self, method: str, params: Any) -> None:
        if method == "session/cancel":
            session = self._sessions.find_known(parse_params(params, requests.Cancel).session_id)
            if session is not None:
                session.cancel()
        elif method == "$/cancel_request":
            turn = self._prompts.get(request_key(parse_params(params, requests.CancelRequest).request_id))
            if turn is not None:
                threading.Thread(target=turn.cancel, daemon=True).start()

    def _initialize(self, params: Any) -> dict[str, Any]:
        self._shows_forms = parse_params(params, requests.Initialize).shows_forms
        return {
            "protocolVersion": PROTOCOL_VERSION,
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": True, "audio": True, "embeddedContext": True},
                "mcpCapabilities": {"http": False, "sse": False},
                "sessionCapabilities": {"list": {}, "resume": {}},
            },
            "agentInfo": {"name": "moongate", "title": "Moongate", "version": __version__},
            "authMethods": [],
        }

    def _create_session(self, params: Any) -> dict[str, Any]:
        given = parse_params(params, requests.NewSession)
        agents = self._gateway.list_agents()
        session = self._sessions.create(agents)
        if given.mcp_servers:
            print_thread_note("The agents of the gateway do not use the MCP servers of the editor.")
        print_thread_note(
            f"The agents work in directories of their own, not in {given.cwd}: see docs/clients/editors.md."
        )
        self._read_models(session)
        return {"sessionId": session.id, **options.render_choices(session, agents)}

    def _load_session(self, params: Any) -> dict[str, Any]:
        """Send the whole conversation. What is still at work follows after the answer."""
        session = self._sessions.find(parse_params(params, requests.OpenSession).session_id)
        agents = self._gateway.list_agents()
        if not session.is_new:
            self._replay_session(session)
        self._read_models(session)
        return options.render_choices(session, agents)

    def _replay_session(self, session: EditorSession) -> None:
        session.mute_turns()  # the editor wants all of them again
        active = self._gateway.list_active_runs(session.key)
        ended = [one for one in self._gateway.read_transcript(session.key) if one["run_id"] not in active]
        for update in updates.make_transcript_updates(ended, self._gateway.locate_file):
            self._connection.send_update(session.id, update)
        following = [self._make_turn(session, run) for run in active if not session.shows(run)]
        for turn in following:
            session.add_turn(turn)
        threading.Thread(target=self._follow_runs, args=(session, following), daemon=True).start()

    def _resume_session(self, params: Any) -> dict[str, Any]:
        session = self._sessions.find(parse_params(params, requests.OpenSession).session_id)
        self._read_models(session)
        return options.render_choices(session, self._gateway.list_agents())

    def _list_sessions(self, params: Any) -> dict[str, Any]:
        given = parse_params(params, requests.ListSessions)
        found, cursor = self._gateway.list_sessions(given.cursor)
        used = [session for session in found if session["messages"] or session["active"]]
        shown = [sessions.render_listed(session, given.cwd or os.getcwd()) for session in used]
        return {"sessions": shown, **({} if cursor is None else {"nextCursor": cursor})}

    def _set_mode(self, params: Any) -> dict[str, Any]:
        given = parse_params(params, requests.SetMode)
        session = self._sessions.find(given.session_id)
        agents = self._choose_agent(session, given.mode_id)
        self._send_options(session, agents)
        return {}

    def _set_option(self, params: Any) -> dict[str, Any]:
        given = parse_params(params, requests.SetOption)
        session = self._sessions.find(given.session_id)
        if given.config_id == options.AGENT_OPTION:
            agents = self._choose_agent(session, given.value)
            mode = {"sessionUpdate": "current_mode_update", "currentModeId": session.agent}
            self._connection.send_update(session.id, mode)
        elif given.config_id == options.MODEL_OPTION:
            options.choose_model(session, given.value)
            agents = self._gateway.list_agents()
        else:
            raise InvalidRequest(f"there is no option {given.config_id[:64]!r}.")
        return {"configOptions": options.render_options(session, agents)}

    def _choose_agent(self, session: EditorSession, name: str) -> list[dict[str, Any]]:
        """Choose the agent of a session. Returns all enabled agents."""
        agents = self._gateway.list_agents()
        if name not in [agent["id"] for agent in agents]:
            raise AgentNotFound(f"there is no enabled agent {name[:64]!r}.", remedy="See: gateway agents list")
        session.choose_agent(name)
        self._read_models(session)
        return agents

    def _read_models(self, session: EditorSession) -> bool:
        """Find out which models the agent of a session offers. Returns False if it has not told them yet."""
        if session.models is None:
            with suppress(AgentNotFound):  # it was removed: its conversation can be read
                session.models = self._gateway.list_models(session.agent)
        return session.models is not None

    def _send_options(self, session: EditorSession, agents: list[dict[str, Any]]) -> None:
        said = {"sessionUpdate": "config_option_update", "configOptions": options.render_options(session, agents)}
        self._connection.send_update(session.id, said)

    def _start_prompt(self, id_: object, params: Any) -> None:
        given = parse_params(params, requests.Prompt)
        content = requests.read_prompt(given.prompt)
        session = self._sessions.find(given.session_id)
        if not self._room.acquire(blocking=False):
            raise Unavailable(f"{MAX_PARALLEL_PROMPTS} prompts are at work. Wait until one has ended.")
        turn = self._make_turn(session)
        self._prompts[request_key(id_)] = turn
        earlier = session.add_turn(turn)  # here, because a cancel may be the next message
        arguments = (id_, session, turn, content, session.model, earlier)  # the next message may change the model
        # A daemon: when the editor is gone, the run goes on in the gateway.
        threading.Thread(target=self._run_prompt, args=arguments, daemon=True).start()

    def _run_prompt(
        self,
        id_: object,
        session: EditorSession,
        turn: Turn,
        content: requests.PromptContent,
        model: str | None,
        earlier: Turn | None,
    ) -> None:
        try:
            try:
                result = turn.prompt(session.key, session.agent, content, model, earlier)
                self._show_new_models(session)
            finally:
                session.remove_turn(turn)
                self._prompts.pop(request_key(id_), None)
                self._room.release()
            self._connection.send_result(id_, result)
        except Exception as error:  # the editor gets every error as an answer
            self._connection.send_error(id_, error)

    def _show_new_models(self, session: EditorSession) -> None:
        """Show the models that the agent has told since the session was opened."""
        if session.models is not None:
            return
        with suppress(GatewayError):  # the answer is worth more than this
            if self._read_models(session):
                self._send_options(session, self._gateway.list_agents())

    def _follow_runs(self, session: EditorSession, turns: list[Turn]) -> None:
        """Show the runs of a loaded session that have not ended, one after the other."""
        for turn in turns:
            try:
                turn.follow()
            finally:
                session.remove_turn(turn)

    def _make_turn(self, session: EditorSession, run: str | None = None) -> Turn:
        return Turn(self._connection, self._gateway, session.id, shows_forms=self._shows_forms, run=run)
