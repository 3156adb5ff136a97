"""Makes the updates that an editor shows from the events of a run and the messages of a transcript."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cli import output
from gateway.domain.run import FinishReason

#: an entry of `session/update`
Update = dict[str, Any]

#: characters of a tool's arguments in its title
MAX_TOOL_TITLE_CHARACTERS = 100

#: what is shown in the place of an empty answer
EMPTY_ANSWER = "[The agent has ended without an answer.]"

_STOP_REASONS = {FinishReason.LENGTH: "max_tokens", FinishReason.CONTENT_FILTER: "refusal"}


def make_text_update(kind: str, text: str) -> Update:
    """Return a piece of text: `agent_message_chunk`, `agent_thought_chunk` or `user_message_chunk`."""
    return {"sessionUpdate": kind, "content": _text_block(text)}


def make_picture_update(kind: str, file: Mapping[str, Any], url: str, content: bytes) -> Update:
    """Return a picture, as the API shows it, with its content."""
    data = base64.b64encode(content).decode()
    return {
        "sessionUpdate": kind,
        "content": {"type": "image", "mimeType": file["media_type"], "data": data, "uri": url},
    }


def make_link_update(kind: str, file: Mapping[str, Any], url: str) -> Update:
    """Return a link to a file, as the API shows it."""
    told = {"name": file["name"], "mimeType": file["media_type"], "size": file["size"]}
    return {"sessionUpdate": kind, "content": {"type": "resource_link", "uri": url, **told}}


def make_transcript_updates(
    messages: Sequence[Mapping[str, Any]], locate_file: Callable[[str], str]
) -> Iterator[Update]:
    """Yield the messages of a transcript, as the API shows them; a prompt whose task failed has no answer there.

    Args:
        locate_file: returns the URL of a file by its id. Files are shown as links, so that nothing large is sent again.
    """
    for number, message in enumerate(messages):
        run, is_prompt = message["run_id"], message["role"] == "user"
        kind, text = "user_message_chunk" if is_prompt else "agent_message_chunk", message["content"]
        if text or not message["files"]:
            yield {**make_text_update(kind, text or EMPTY_ANSWER), "messageId": f"{run}:{number}"}
        for file in message["files"]:
            yield {**make_link_update(kind, file, locate_file(file["id"])), "messageId": f"{run}:{number}"}
        if is_prompt and run not in [one["run_id"] for one in messages[number + 1 : number + 2]]:
            said = f"[The task {run} has no answer.]"
            yield {**make_text_update("agent_message_chunk", said), "messageId": f"{run}:{number}:none"}


def make_prompt_update(run: str, prompt: str) -> Update:
    """Return the prompt of a run that is followed from its beginning."""
    return {**make_text_update("user_message_chunk", prompt), "messageId": f"{run}:prompt"}


def make_event_update(run: str, kind: str, data: Mapping[str, Any]) -> Update | None:
    """Return what an editor shows of an event; None for an event that it does not show, or not like this.

    Args:
        run: the id of the run. Ids of tool calls are unique in a run only, but in ACP in a session.
    """
    match kind:
        case "text" if data["delta"]:
            return make_text_update("agent_message_chunk", data["delta"])
        case "thinking" if data["delta"]:
            return make_text_update("agent_thought_chunk", data["delta"])
        case "log" if data.get("notice") or data["level"] in ("warning", "error"):
            return make_text_update("agent_thought_chunk", f"\n{data['message']}\n")
        case "status" if data.get("attempt", 0) > 1 or data.get("reason"):
            return make_text_update("agent_message_chunk", f"\n\n[{_describe_status(data)}]\n\n")
        case "end" if data.get("result") == "":
            return make_text_update("agent_message_chunk", EMPTY_ANSWER)
        case "tool":
            return _make_tool_update(run, data)
        case "tool_end":
            return _make_tool_end_update(run, data)
    return None


def make_call_id(run: str, call: str) -> str:
    """Return the id of a tool call that is unique in a session."""
    return f"{run}:{call}"


def read_stop_reason(end: Mapping[str, Any]) -> str | None:
    """Return why a turn ended, from the last event of its run; None if the run failed."""
    if end.get("outcome") == "cancelled_by_user":
        return "cancelled"
    if end.get("outcome") != "completed":
        return None
    return _STOP_REASONS.get(end.get("finish") or FinishReason.STOP, "end_turn")


def _make_tool_update(run: str, data: Mapping[str, Any]) -> Update:
    args = data.get("args")
    words = args if isinstance(args, str) else json.dumps(args, ensure_ascii=False) if args else ""
    return {
        "sessionUpdate": "tool_call",
        "toolCallId": make_call_id(run, data["id"]),
        "title": output.shorten_text(f"{data['name']} {words}".strip(), MAX_TOOL_TITLE_CHARACTERS),
        "status": "in_progress",
        **({} if args is None else {"rawInput": args}),
    }


def _make_tool_end_update(run: str, data: Mapping[str, Any]) -> Update:
    said = data.get("output", "")
    return {
        "sessionUpdate": "tool_call_update",
        "toolCallId": make_call_id(run, data["id"]),
        "status": "failed" if data.get("is_error") else "completed",
        **({"content": [{"type": "content", "content": _text_block(said)}], "rawOutput": said} if said else {}),
    }


def _describe_status(data: Mapping[str, Any]) -> str:
    attempt, reason = data.get("attempt", 0), data.get("reason")
    return str(data["status"]) + (f", attempt {attempt}" if attempt > 1 else "") + (f": {reason}" if reason else "")


def _text_block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
