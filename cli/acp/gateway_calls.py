"""What the editor's sessions need of the gateway: calls of its HTTP API, in the words of this package."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPResponse
from typing import Any

from cli.acp.requests import PromptContent
from cli.remote.client import GatewayClient, quote_part
from cli.remote.link import Link
from cli.remote.open_requests import is_request_open
from cli.remote.sse import Event

#: the channel in the keys of the sessions that editors open
ACP_CHANNEL = "acp"
#: messages of a transcript that an editor is sent; older ones stay in the gateway
MAX_REPLAYED_MESSAGES = 2000
#: sessions in one answer to `session/list`
SESSIONS_PER_PAGE = 50
#: running and queued runs of a session that are followed after it was loaded
MAX_FOLLOWED_RUNS = 20


class GatewayCalls:
    """Calls one gateway, from any thread. It looks for the gateway at the first call, and again while it is away."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: GatewayClient | None = None
        self._lock = threading.Lock()

    def connect(self) -> GatewayClient:
        """Return a client of the gateway.

        Raises:
            NotRunning: the gateway does not run, or does not answer.
        """
        with self._lock:
            if self._client is None:
                self._client = GatewayClient(self._link)
            return self._client

    def list_agents(self) -> list[dict[str, Any]]:
        """Return the agents that take prompts."""
        return [agent for agent in self.connect().get("/api/agents")["agents"] if agent["is_enabled"]]

    def list_models(self, agent: str) -> list[dict[str, Any]] | None:
        """Return the models that an agent offers; None if it has not told."""
        found: list[dict[str, Any]] | None = self.connect().get(f"/api/agents/{quote_part(agent)}").get("models")
        return found

    def list_sessions(self, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Return a page of sessions, the last used one first, and the cursor of the next page."""
        page = self.connect().get("/api/sessions", limit=SESSIONS_PER_PAGE, cursor=cursor)
        return page["sessions"], page["next_cursor"]

    def get_session(self, name: str) -> dict[str, Any]:
        """Return a session by its key, or by the name of its chat.

        Raises:
            SessionNotFound: there is none.
        """
        found: dict[str, Any] = self.connect().get(f"/api/sessions/{quote_part(name)}", limit=1)["session"]
        return found

    def read_transcript(self, key: str) -> list[dict[str, Any]]:
        """Return the newest messages of a session, oldest first."""
        newest_first: list[dict[str, Any]] = []
        cursor = None
        while len(newest_first) < MAX_REPLAYED_MESSAGES:
            page = self.connect().get(f"/api/sessions/{quote_part(key)}", cursor=cursor)
            newest_first += page["messages"][::-1]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return newest_first[:MAX_REPLAYED_MESSAGES][::-1]

    def get_last_model(self, key: str) -> str | None:
        """Return the model that was chosen for the newest run of a session; None if none was."""
        newest = self.connect().get("/api/tasks", session=key, limit=1)["tasks"]
        return newest[0]["model"] if newest else None

    def list_active_runs(self, key: str) -> list[str]:
        """Return the ids of the runs of a session that are running or queued, in the order in which they run."""
        found = [
            run["id"]
            for status in ("running", "queued")
            for run in self.connect().get("/api/tasks", session=key, status=status, limit=MAX_FOLLOWED_RUNS)["tasks"]
        ]
        return sorted(found)  # their ids sort by time

    def get_run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.connect().get(f"/api/tasks/{quote_part(run)}")["task"]
        return found

    def start_run(
        self, session: str, agent: str, content: PromptContent, model: str | None
    ) -> tuple[str, HTTPResponse]:
        """Submit a prompt, once. Returns the id of its run, and the stream of its events.

        Args:
            agent: that of the session. If it was removed, the gateway would take the key for a name of the default
                agent's.
        """
        body: dict[str, object] = {"message": content.text, "session": session, "agentId": agent, "model": model}
        if content.attachments:
            body["attachments"] = content.attachments
        return self.connect().start_run("/api/agent", body)

    def follow_run(self, run: str, tell: Callable[[str], None], opened: HTTPResponse | None = None) -> Iterator[Event]:
        """Yield the events of a run from the first to `end`, also across restarts of the gateway."""
        return self.connect().follow_events(run, tell, opened)

    def cancel_run(self, run: str) -> None:
        self.connect().post(f"/api/tasks/{quote_part(run)}/cancel")

    def locate_file(self, file: str) -> str:
        """Return the URL of a file; its content needs the token."""
        return self.connect().make_url(f"/api/files/{quote_part(file)}")

    def read_file(self, file: str) -> bytes:
        """Return the whole content of a file."""
        pieces: list[bytes] = []
        self.connect().download_file(file, pieces.append)
        return b"".join(pieces)

    def answer_request(self, run: str, request: str, body: Mapping[str, object]) -> None:
        """Answer a permission request or a question.

        Raises:
            Conflict: it has an answer already.
        """
        self.connect().post(f"/api/tasks/{quote_part(run)}/permissions/{quote_part(request)}", body)

    def is_request_open(self, run: str, request: str) -> bool:
        """Return whether a request waits for an answer."""
        return is_request_open(self.connect(), run, request)
