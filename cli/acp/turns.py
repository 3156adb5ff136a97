"""One run that an editor follows, from its start or from the middle, to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from msgspec import Struct

from cli.acp import updates
from cli.acp.connection import EditorConnection
from cli.acp.gateway_calls import GatewayCalls
from cli.acp.permissions import EditorPermissions
from cli.acp.requests import PromptContent
from cli.acp.updates import make_text_update
from cli.files.shown import describe_file
from cli.follow.follow import explain_long_wait, read_result
from cli.output import print_thread_note
from cli.remote.client import RETURN_TIMEOUT_SECONDS, STREAM_SILENCE_SECONDS
from cli.remote.local_link import RECONNECT_POLL_SECONDS
from cli.remote.sse import Event
from gateway.domain.media_type import INLINE_MEDIA_TYPES
from gateway.errors import Conflict, GatewayError, NotFound, NotRunning, TimedOut, Unavailable

#: bytes of a picture that is shown in the conversation; of a larger one, a link is
MAX_SHOWN_PICTURE_BYTES = 5_000_000
#: errors of a gateway that is away, and may come back
_AWAY = (NotRunning, TimedOut, Unavailable)


class Turn:
    """Shows a run in one session of the editor. It can be cancelled from another thread, also before it has a run."""

    def __init__(
        self,
        connection: EditorConnection,
        gateway: GatewayCalls,
        session: str,
        *,
        shows_forms: bool,
        run: str | None = None,
    ) -> None:
        """Args:
        run: the id of the run, if it was started earlier.
        """
        self._connection = connection
        self._gateway = gateway
        self._session = session
        self._shows_forms = shows_forms
        self._lock = threading.Lock()
        #: the id of the run; None until the gateway has accepted the prompt
        self.run = run
        self._cancelled = False
        #: held while an event is shown
        self._showing = threading.Lock()
        self._muted = False
        #: ids of the tool calls that have not ended
        self._tools: set[str] = set()
        #: whether the agent has made a file
        self._has_files = False
        #: the requests that the editor shows
        self._permissions: EditorPermissions | None = None
        #: set when the gateway has accepted the prompt, or never will
        self._submitted = threading.Event()
        if run is not None:
            self._submitted.set()

    def prompt(
        self, key: str, agent: str, content: PromptContent, model: str | None, earlier: Turn | None
    ) -> dict[str, Any]:
        """Send a prompt to a session of the gateway, and show its run. Returns the result of `session/prompt`.

        Args:
            earlier: the prompt of this session that the editor sent before: they reach the gateway in this order.

        Raises:
            GatewayError: the gateway refused the prompt, or the run failed.
        """
        if earlier is not None:
            earlier.wait_submitted()
        try:
            run, opened = self._gateway.start_run(key, agent, content, model)
        except _AWAY:
            raise  # it may have been accepted
        except GatewayError:
            if self._cancelled:
                return {"stopReason": "cancelled"}
            raise
        finally:
            self._submitted.set()
        self._set_run(run)
        end, usage = self._show_events(run, self._gateway.follow_run(run, self._tell, opened))
        reason = updates.read_stop_reason(end)
        if reason is None:
            read_result(run, end)  # raises the error of the run
        return {"stopReason": reason, **usage.render(), "_meta": {"moongate": {"task": run, **usage.cost}}}

    def follow(self) -> None:
        """Show a run that was started earlier, with the prompt that it answers."""
        assert self.run is not None, "this turn has no run yet"
        if self._muted:
            return
        try:
            self._follow(self.run)
        except GatewayError as error:
            self._tell(f"Cannot follow the task {self.run}: {self._connection.describe_error(error)}")

    def _follow(self, run: str) -> None:
        prompt = self._gateway.get_run(run)["input"]
        end, _ = self._show_events(run, self._gateway.follow_run(run, self._tell), prompt)
        if end.get("error") and not self._muted:
            self._send_text("agent_message_chunk", f"\n\n[{end['error']}]\n\n")

    @property
    def is_muted(self) -> bool:
        return self._muted

    def mute(self) -> None:
        """Show no more of the run, because another turn does. A prompt is still answered at the end of its run."""
        with self._showing:
            if self.run is not None:
                self._muted = True
                if self._permissions is not None:
                    self._permissions.withdraw_requests()

    def wait_submitted(self) -> None:
        """Wait until the gateway has accepted the prompt, or has refused it."""
        self._submitted.wait(2 * STREAM_SILENCE_SECONDS)

    def cancel(self) -> None:
        """Cancel the run; one that is not accepted yet as soon as it is."""
        with self._lock:
            self._cancelled = True
            run = self.run
        if run is not None:
            self._cancel_run(run)

    def _set_run(self, run: str) -> None:
        with self._lock:
            self.run = run
            cancelled = self._cancelled
        if cancelled:
            threading.Thread(target=self._cancel_run, args=(run,), daemon=True).start()

    def _cancel_run(self, run: str) -> None:
        """Cancel a run, also if the gateway is away for a while: it would start the run again."""
        deadline = time.monotonic() + RETURN_TIMEOUT_SECONDS
        while True:
            try:
                self._gateway.cancel_run(run)
            except (Conflict, NotFound):
                pass  # it has ended
            except GatewayError as error:
                if isinstance(error, _AWAY) and time.monotonic() < deadline:
                    time.sleep(RECONNECT_POLL_SECONDS)
                    continue
                self._tell(f"Cannot cancel the task {run}: {self._connection.describe_error(error)}")
            return

    def _show_events(
        self, run: str, events: Iterator[Event], prompt: str | None = None
    ) -> tuple[dict[str, Any], RunUsage]:
        """Show all events of a run. Returns the last one, and what the run used.

        Args:
            prompt: what to show as the user's message when it is this run's turn.
        """
        self._permissions = permissions = EditorPermissions(
            self._connection, self._gateway, self._session, run, shows_forms=self._shows_forms
        )
        usage, end = RunUsage(), {}
        with explain_long_wait(self._gateway.connect(), run, self._tell) as queued, permissions:
            for event in events:
                begun = event.data.get("status") != "queued"
                if begun:
                    queued.cancel()
                with self._showing:
                    if not self._muted:
                        if begun and prompt is not None:
                            self._connection.send_update(self._session, updates.make_prompt_update(run, prompt))
                            prompt = None
                        self._show_event(run, event, permissions)
                usage = usage.add(event)
                end = event.data
        return end, usage

    def _show_event(self, run: str, event: Event, permissions: EditorPermissions) -> None:
        if event.kind == "permission":
            permissions.handle_event(event.data)
            return
        if event.kind == "file":
            self._has_files = True
            self._show_file(event.data)
            return
        if event.kind in ("status", "end"):
            self._end_tools(run)
        if event.kind == "end" and self._has_files and not event.data.get("result"):
            return  # the files are the answer
        if (update := updates.make_event_update(run, event.kind, event.data)) is not None:
            self._connection.send_update(self._session, update)
        if event.kind == "tool":
            self._tools.add(event.data["id"])
        elif event.kind == "tool_end":
            self._tools.discard(event.data["id"])

    def _show_file(self, file: dict[str, Any]) -> None:
        """Show a picture that the agent made; a link to any other file, and the command that gets it."""
        content = None
        if file["media_type"] in INLINE_MEDIA_TYPES and file["size"] <= MAX_SHOWN_PICTURE_BYTES:
            with suppress(GatewayError):  # a link is shown instead
                content = self._gateway.read_file(file["id"])
        url = self._gateway.locate_file(file["id"])
        if content is not None:
            shown = updates.make_picture_update("agent_message_chunk", file, url, content)
            self._connection.send_update(self._session, shown)
            return
        self._connection.send_update(self._session, updates.make_link_update("agent_message_chunk", file, url))
        said = self._connection.complete_commands(f"{describe_file(file)}: gateway files get {file['id']}")
        self._send_text("agent_message_chunk", f"\n\n[{said}]\n\n")

    def _end_tools(self, run: str) -> None:
        """Show that the tools at work have ended: they were interrupted, with the attempt or the run."""
        while self._tools:
            ended = updates.make_event_update(run, "tool_end", {"id": self._tools.pop(), "is_error": True})
            if ended is not None:
                self._connection.send_update(self._session, ended)

    def _tell(self, note: str) -> None:
        """Show a note about the gateway."""
        if self._muted:
            return
        print_thread_note(note)
        self._send_text("agent_thought_chunk", f"\n{note}\n")

    def _send_text(self, kind: str, text: str) -> None:
        self._connection.send_update(self._session, make_text_update(kind, text))


class RunUsage(Struct, frozen=True):
    """What the steps of a run used, as far as its agent tells."""

    input: int = 0
    output: int = 0
    cached: int = 0
    dollars: float = 0.0

    def add(self, event: Event) -> RunUsage:
        """Return the usage with that of one more event."""
        if event.kind != "usage":
            return self
        told = event.data
        return RunUsage(
            self.input + told.get("input", 0),
            self.output + told.get("output", 0),
            self.cached + told.get("cached", 0),
            self.dollars + told.get("cost", 0.0),
        )

    def render(self) -> dict[str, Any]:
        """Return the field `usage` of an answer; nothing if the agent told no tokens."""
        total = self.input + self.output
        told = {"totalTokens": total, "inputTokens": self.input, "outputTokens": self.output}
        return {"usage": {**told, "cachedReadTokens": self.cached}} if total else {}

    @property
    def cost(self) -> dict[str, float]:
        """US dollars; nothing if the agent told no cost."""
        return {"cost": self.dollars} if self.dollars else {}
