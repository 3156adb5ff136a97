"""Which session of the gateway a session of an editor is."""

from __future__ import annotations

from typing import Any

import pytest

from cli.acp.sessions import EditorSession, EditorSessions, render_listed
from cli.acp.turns import Turn
from gateway.errors import AgentNotFound, Conflict


def agent(name: str, *, default: bool = False) -> dict[str, Any]:
    return {"id": name, "is_default": default}


def test_a_new_session_is_with_the_default_agent() -> None:
    session = EditorSessions(None).create([agent("a"), agent("b", default=True)])  # type: ignore[arg-type]

    assert session.key == f"b:acp:{session.id}"


def test_without_an_agent_there_is_no_session() -> None:
    with pytest.raises(AgentNotFound):
        EditorSessions(None).create([])  # type: ignore[arg-type]


def prompt(session: EditorSession, run: str | None) -> Turn:
    """Add a turn to a session, with a run if the gateway has accepted the prompt."""
    turn = Turn(None, None, session.id, shows_forms=False, run=run)  # type: ignore[arg-type]
    session.add_turn(turn)
    return turn


def test_the_agent_can_be_chosen_until_the_first_prompt() -> None:
    session = EditorSession("s", "a")
    session.choose_agent("b")
    session.remove_turn(prompt(session, "01"))

    assert (session.key, session.is_new) == ("b:acp:s", False)
    session.choose_agent("b")
    with pytest.raises(Conflict):
        session.choose_agent("a")
    assert session.agent == "b"


def test_a_prompt_fixes_the_agent_while_it_is_on_its_way_and_not_after_it_was_refused() -> None:
    session = EditorSession("s", "a")
    turn = prompt(session, None)

    with pytest.raises(Conflict):
        session.choose_agent("b")
    session.remove_turn(turn)
    session.choose_agent("b")
    assert (session.key, session.is_new) == ("b:acp:s", True)


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
