"""`gateway acp`: with the official client SDK as the editor, and with messages that no editor sends."""

from __future__ import annotations

import pytest

from harness.command_line import Shell
from tests.support.editor import Editor

pytestmark = pytest.mark.agents("acp-sdk")


def test_an_editor_talks_to_the_default_agent(shell: Shell) -> None:
    with Editor(shell.env, shell.cwd) as editor:
        hello = editor.initialize()
        session = editor.new_session()
        answer = editor.wait_answer(editor.prompt(session, "@@ words 3 0"))

        assert hello["agentInfo"]["name"] == "moongate"
        assert hello["agentCapabilities"]["loadSession"]
        assert answer["result"]["stopReason"] == "end_turn"
        assert editor.text() == "w0 w1 w2 "
        assert len(editor.updates("agent_message_chunk")) >= 1
    kept = shell("sessions", "show", session, "--json").json
    assert [message["content"] for message in kept["messages"]] == ["@@ words 3 0", "w0 w1 w2 "]
