"""Which session of the gateway a session of an editor is."""

from __future__ import annotations

from typing import Any

import pytest

from cli.acp.sessions import EditorSession, EditorSessions, render_listed
from gateway.errors import AgentNotFound, Conflict


def agent(name: str, *, default: bool = False) -> dict[str, Any]:
    return {"id": name, "is_default": default}


def test_a_new_session_is_with_the_default_agent() -> None:
    session = EditorSessions(None).create([agent("a"), agent("b", default=True)])  # type: ignore[arg-type]

    assert session.fix_key() == f"b:acp:{session.id}"


def test_without_an_agent_there_is_no_session() -> None:
    with pytest.raises(AgentNotFound):
        EditorSessions(None).create([])  # type: ignore[arg-type]


def test_the_agent_can_be_chosen_until_the_first_prompt() -> None:
    session = EditorSession("s", "a")
    session.choose_agent("b")

    assert session.fix_key() == "b:acp:s"
    session.choose_agent("b")
    with pytest.raises(Conflict):
        session.choose_agent("a")
    assert session.agent == "b"


@pytest.mark.parametrize(
    ("channel", "title", "shown"),
    [
        ("acp", "Fix it", ("chat", "Fix it")),
        ("telegram", "Fix it", ("a:telegram:chat", "Fix it")),
        ("telegram", "", ("a:telegram:chat", "telegram chat")),
    ],
)
def test_a_listed_session_has_an_id_that_can_be_loaded(channel: str, title: str, shown: tuple[str, str]) -> None:
    session = {"key": f"a:{channel}:chat", "channel": channel, "chat_id": "chat", "title": title, "last_activity": "t"}
    listed = render_listed(session, "/here")

    assert (listed["sessionId"], listed["title"]) == shown
    assert (listed["cwd"], listed["updatedAt"]) == ("/here", "t")
