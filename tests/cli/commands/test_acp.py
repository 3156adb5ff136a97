"""`gateway acp`: with the official client SDK as the editor, and with messages that no editor sends."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.supervisor.command_line import spell_program
from harness.command_line import Shell, next_line
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync
from tests.support import scripted_acp
from tests.support.editor import Editor

PNG = b"\x89PNG\r\n\x1a\n" + bytes(25)
#: a program that makes two files
PAINT = f"""
import os, pathlib
out = pathlib.Path(os.environ["MOONGATE_OUTBOX"])
(out / "chart.png").write_bytes({PNG!r})
(out / "notes.txt").write_text("notes")
print("done")
"""
AGENTS = {
    "default": "main",
    "list": [
        {"id": "main", "backend": "echo", "script": True, "permissions": "ask"},
        {
            "id": "coder",
            "backend": "acp",
            "command": [sys.executable, "-I", "-S", scripted_acp.__file__],
            "permissions": "ask",
        },
        {"id": "off", "backend": "echo", "enabled": False},
        {"id": "painter", "backend": "command", "command": [sys.executable, "-I", "-S", "-c", PAINT]},
    ],
}

pytestmark = pytest.mark.agents("acp-sdk")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that the tests of this module share. No test stops it."""
    live = Live(tmp_path_factory.mktemp("office"), {"agents": AGENTS})
    live.home.chmod(0o700)
    live.start()
    yield live
    live.close()


@pytest.fixture
def editor(office: Live) -> Iterator[Editor]:
    """An editor that has said hello."""
    with Editor(office.env, office.home) as made:
        made.initialize()
        yield made


def asked(line: dict[str, Any]) -> bool:
    return "asks" in line


def answer_permission(editor: Editor, choice: str) -> dict[str, Any]:
    """Answer the request that the editor shows, and return it."""
    request = editor.wait_for(asked)
    editor.answer(request["asks"], {"outcome": {"outcome": "selected", "optionId": choice}})
    return request


def find_runs(live: Live, session: str) -> list[dict[str, Any]]:
    """Return the runs of a session that an editor began."""
    return [run for run in live.call("GET", "/api/tasks").body["tasks"] if run["session"].endswith(f":{session}")]


def wait_request(live: Live, session: str) -> str:
    """Wait until the agent of a session asks, and return the path of its request."""

    def path() -> str:
        for run in find_runs(live, session):
            for request in live.call("GET", f"/api/tasks/{run['id']}").body["permissions"]:
                return f"/api/tasks/{run['id']}/permissions/{request['id']}"
        return ""

    until_sync(path, "the agent asks")
    return path()


def test_an_editor_talks_to_the_default_agent(office: Live) -> None:
    with Editor(office.env, office.home) as editor:
        hello = editor.initialize()
        session = editor.new_session()
        answer = editor.wait_answer(editor.prompt(session, "@@ words 3 0"))["result"]

        assert (hello["protocolVersion"], hello["agentInfo"]["name"]) == (1, "moongate")
        assert hello["agentCapabilities"]["loadSession"]
        assert answer["stopReason"] == "end_turn"
        assert answer["usage"] == {"totalTokens": 9, "inputTokens": 4, "outputTokens": 5, "cachedReadTokens": 0}
        assert editor.text() == "w0 w1 w2 "
        assert "not in" in editor.errors  # where the agents work
    kept = office.call("GET", f"/api/sessions/main:acp:{session}").body
    assert [message["content"] for message in kept["messages"]] == ["@@ words 3 0", "w0 w1 w2 "]
    assert answer["_meta"]["moongate"]["task"] == kept["messages"][0]["run_id"]


def test_text_comes_while_the_agent_still_works(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    prompt = editor.prompt(session, "@@ say first\n@@ ask go on")
    editor.wait_for(lambda line: line.get("update", {}).get("content", {}).get("text") == "first")
    answer_permission(editor, "allow")

    assert editor.wait_answer(prompt)["result"]["stopReason"] == "end_turn"
    assert editor.text() == "firstallow"


@pytest.mark.parametrize(
    ("finish", "reason"), [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")]
)
def test_the_editor_is_told_why_an_answer_ended(editor: Editor, finish: str, reason: str) -> None:
    prompt = editor.prompt(editor.new_session(), f"@@ say x\n@@ finish {finish}")

    assert editor.wait_answer(prompt)["result"]["stopReason"] == reason


def test_a_run_that_fails_is_an_error_that_names_its_task(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    error = editor.wait_answer(editor.prompt(session, "@@ fail the model is away"))["error"]

    [run] = find_runs(office, session)
    assert error["code"] == -32603
    assert error["message"] == f"the model is away. See: {spell_program(office.env)} tasks show {run['id']}"


@pytest.mark.parametrize(("choice", "said"), [("allow_once", "allow"), ("reject_once", "deny")])
def test_a_permission_is_asked_in_the_editor_and_its_answer_obeyed(editor: Editor, choice: str, said: str) -> None:
    session = editor.new_session()
    editor.request("session/set_mode", sessionId=session, modeId="coder")
    prompt = editor.prompt(session, "[[ask rm -rf build]]")
    request = answer_permission(editor, said)

    assert editor.wait_answer(prompt)["result"]["stopReason"] == "end_turn"
    assert editor.text() == choice
    assert "rm -rf build" in request["params"]["toolCall"]["title"]
    assert [option["kind"] for option in request["params"]["options"]] == ["allow_once", "allow_always", "reject_once"]
    call = request["params"]["toolCall"]["toolCallId"]
    [closed] = [update for update in editor.updates("tool_call_update") if update["toolCallId"] == call]
    assert closed["status"] == ("completed" if said == "allow" else "failed")


def test_a_request_that_is_answered_elsewhere_is_withdrawn(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    prompt = editor.prompt(session, "@@ ask go on")
    request = editor.wait_for(asked)
    assert office.call("POST", wait_request(office, session), {"answer": "deny"}).status == 200

    editor.wait_for(lambda line: line.get("withdrawn") == request["asks"])
    assert editor.wait_answer(prompt)["result"]["stopReason"] == "end_turn"
    assert editor.text() == "deny"


def test_a_request_that_the_editor_dismisses_waits_for_others(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    prompt = editor.prompt(session, "@@ ask go on")
    editor.answer(editor.wait_for(asked)["asks"], {"outcome": {"outcome": "cancelled"}})
    assert office.call("POST", wait_request(office, session), {"answer": "allow"}).status == 200

    assert editor.wait_answer(prompt)["result"]["stopReason"] == "end_turn"
    assert editor.text() == "allow"


def test_tools_are_shown_as_they_run(editor: Editor) -> None:
    session = editor.new_session()
    editor.request("session/set_mode", sessionId=session, modeId="coder")
    assert "result" in editor.wait_answer(editor.prompt(session, "[[tool read]]"))

    [begun], [ended] = editor.updates("tool_call"), editor.updates("tool_call_update")
    assert begun["title"].startswith("read")
    assert (begun["toolCallId"], begun["status"]) == (ended["toolCallId"], "in_progress")
    assert ended["status"] == "completed"


def test_a_question_is_a_form_in_an_editor_that_shows_forms(office: Live) -> None:
    options = [{"value": "r", "label": "Red"}, {"value": "g"}]
    question = {"message": "Which?", "fields": [{"name": "colour", "type": "choice", "options": options}]}
    with Editor(office.env, office.home) as editor:
        editor.initialize(elicitation={"form": {}})
        prompt = editor.prompt(editor.new_session(), f"@@ question {json.dumps(question)}")
        request = editor.wait_for(asked)
        editor.answer(request["asks"], {"action": "accept", "content": {"colour": "g"}})
        editor.wait_answer(prompt)

        assert request["method"] == "elicitation/create"
        assert request["params"]["message"] == "Which?"
        wanted = request["params"]["requestedSchema"]["properties"]["colour"]
        assert wanted["oneOf"] == [{"const": "r", "title": "Red"}, {"const": "g", "title": "g"}]
        assert '"g"' in editor.text()


def test_an_editor_without_forms_is_told_how_to_answer_a_question(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    question = {"message": "Which colour?", "fields": [{"name": "colour"}]}
    prompt = editor.prompt(session, f"@@ question {json.dumps(question)}")
    editor.wait_for(lambda line: "Which colour?" in line.get("update", {}).get("content", {}).get("text", ""))
    [run] = find_runs(office, session)
    answered = Shell(office.env, office.home)("tasks", "answer", run["id"], "p1", "green")

    assert answered.code == 0
    assert "result" in editor.wait_answer(prompt)
    assert f"{spell_program(office.env)} tasks answer {run['id']} p1 ANSWER" in editor.text()


def test_an_editor_that_cannot_show_a_request_says_how_to_answer_it(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    prompt = editor.prompt(session, "@@ ask go on")
    editor.fail(editor.wait_for(asked)["asks"])
    editor.wait_for(lambda line: "tasks answer" in line.get("update", {}).get("content", {}).get("text", ""))
    office.call("POST", wait_request(office, session), {"answer": "deny"})

    assert "result" in editor.wait_answer(prompt)
    [run] = find_runs(office, session)
    assert "The agent asks to be allowed: go on\nAnswer: " in editor.text()
    assert f"tasks answer {run['id']} p1 allow | allow_always | deny" in editor.text()


@pytest.mark.slow
def test_a_prompt_that_has_to_wait_says_what_it_waits_for(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    first, second = editor.prompt(session, "@@ ask go on"), editor.prompt(session, "@@ say second")
    editor.wait_for(lambda line: "update" in line and "It waits: " in editor.text("agent_thought_chunk"))
    answer_permission(editor, "allow")

    assert "result" in editor.wait_answer(first)
    assert "result" in editor.wait_answer(second)
    assert editor.text() == "allowsecond"


@pytest.mark.parametrize("at_once", [True, False])
def test_cancel_stops_the_run(editor: Editor, office: Live, at_once: bool) -> None:
    session = editor.new_session()
    prompt = editor.prompt(session, "@@ hang")
    if not at_once:
        until_sync(lambda: [run["status"] for run in find_runs(office, session)] == ["running"], "it runs")
    editor.notify("session/cancel", sessionId=session)

    assert editor.wait_answer(prompt)["result"]["stopReason"] == "cancelled"
    assert [run["outcome"] for run in find_runs(office, session)] == ["cancelled_by_user"]


def test_giving_up_the_request_of_a_prompt_cancels_it(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    prompt = editor.prompt(session, "@@ hang")
    until_sync(lambda: [run["status"] for run in find_runs(office, session)] == ["running"], "it runs")
    editor.abort(prompt)

    assert editor.wait_answer(prompt)["result"]["stopReason"] == "cancelled"
    assert [run["outcome"] for run in find_runs(office, session)] == ["cancelled_by_user"]


def test_what_happened_after_the_editor_was_killed_is_there_when_it_loads_the_session(office: Live) -> None:
    with Editor(office.env, office.home) as editor:
        editor.initialize()
        session = editor.new_session()
        editor.wait_answer(editor.prompt(session, "before"))
        editor.prompt(session, "@@ ask go on")
        editor.wait_for(asked)
    assert office.call("POST", wait_request(office, session), {"answer": "allow"}).status == 200
    until_sync(lambda: [run["status"] for run in find_runs(office, session)] == ["succeeded"] * 2, "both have ended")

    with Editor(office.env, office.home) as editor:
        editor.initialize()
        loaded = editor.load(session)
        shown = [(line["update"]["sessionUpdate"], line["update"]["content"]["text"]) for line in editor.seen[2:-1]]
        answer = editor.wait_answer(editor.prompt(session, "@@ history"))

        assert loaded["modes"]["currentModeId"] == "main"
        assert shown == [
            ("user_message_chunk", "before"),
            ("agent_message_chunk", "echo: before"),
            ("user_message_chunk", "@@ ask go on"),
            ("agent_message_chunk", "allow"),
        ]
        assert answer["result"]["stopReason"] == "end_turn"
        assert editor.text().endswith("4 messages")


def test_a_run_that_goes_on_is_followed_after_the_session_is_loaded(office: Live) -> None:
    with Editor(office.env, office.home) as editor:
        editor.initialize()
        session = editor.new_session()
        editor.prompt(session, "@@ ask go on\n@@ say  and done")
        editor.wait_for(asked)

    with Editor(office.env, office.home) as editor:
        editor.initialize()
        editor.load(session)
        answer_permission(editor, "allow")
        editor.wait_for(lambda line: "update" in line and editor.text() == "allow and done")

        assert editor.text("user_message_chunk") == "@@ ask go on\n@@ say  and done"
    assert len(find_runs(office, session)) == 1


@pytest.mark.parametrize("first", ["session/prompt", "session/load"])
def test_a_session_that_is_loaded_again_shows_all_of_the_run_at_work_again(office: Live, first: str) -> None:
    text = "@@ say begun \n@@ ask go on"
    with Editor(office.env, office.home) as one, Editor(office.env, office.home) as other:
        one.initialize()
        other.initialize()
        session = one.new_session()
        prompt = one.prompt(session, text)
        shown = one.wait_for(asked)
        editor = one if first == "session/prompt" else other
        if first == "session/load":
            other.load(session)
            shown = other.wait_for(asked)
        before = len(editor.seen)
        editor.load(session)
        again = editor.wait_for(lambda line: line.get("asks", 0) > shown["asks"])

        assert {"withdrawn": shown["asks"]} in editor.seen
        updates = [line["update"] for line in editor.seen[before:] if "update" in line]
        assert [(one["sessionUpdate"], one.get("content", {}).get("text")) for one in updates] == [
            ("user_message_chunk", text),
            ("agent_message_chunk", "begun "),
            ("tool_call", None),
        ]
        editor.answer(again["asks"], {"outcome": {"outcome": "selected", "optionId": "allow"}})
        assert one.wait_answer(prompt)["result"]["stopReason"] == "end_turn"
        editor.wait_for(lambda line: line.get("update", {}).get("content", {}).get("text") == "allow")
        assert editor.text() == "begun begun allow"


def test_a_goal_in_the_middle_is_shown_once_after_the_session_is_loaded(editor: Editor, office: Live) -> None:
    text = "@@ goal 2\n@@ ask go on"
    task = {"input": text, "mode": "goal", "session": "halfway"}
    assert office.call("POST", "/api/tasks", task).status == 202
    assert office.call("POST", wait_request(office, "halfway"), {"answer": "allow"}).status == 200
    until_sync(lambda: office.call("GET", "/api/sessions/main:task:halfway").body["messages"], "one round has ended")
    editor.load("main:task:halfway")
    answer_permission(editor, "deny")
    editor.wait_for(lambda line: "update" in line and editor.text().endswith("deny"))

    assert editor.text().count("turn 1") == 1
    assert editor.text("user_message_chunk") == text


def test_loading_a_session_without_a_prompt_leaves_its_agent_to_be_chosen(editor: Editor) -> None:
    session = editor.new_session()

    assert editor.load(session)["modes"]["currentModeId"] == "main"
    assert editor.request("session/set_mode", sessionId=session, modeId="coder") == {}


def test_a_first_prompt_that_was_refused_leaves_the_agent_to_be_chosen(editor: Editor) -> None:
    session = editor.new_session()
    refused = editor.wait_answer(editor.prompt(session, "x" * 2_000_000))["error"]

    assert "larger than" in refused["message"]
    assert editor.request("session/set_mode", sessionId=session, modeId="coder") == {}


@pytest.mark.parametrize("how", ["disabled", "removed"])
def test_the_conversation_with_an_agent_that_is_gone_can_be_read(editor: Editor, office: Live, how: str) -> None:
    agent = office.call("POST", "/api/agents", {"slug": f"soon-{how}", "base": "main"}).body["agent"]["id"]
    office.call("POST", "/api/agent", {"message": "before", "session": how, "agentId": agent})
    if how == "disabled":
        office.call("PUT", f"/api/agents/{agent}", {"is_enabled": False})
    else:
        office.call("DELETE", f"/api/agents/{agent}")
    modes = editor.load(f"{agent}:api:{how}")["modes"]

    assert editor.text("user_message_chunk") == "before"
    assert modes["currentModeId"] == agent
    assert modes["availableModes"][-1]["description"] == "disabled or removed; takes no prompts"
    assert "error" in editor.wait_answer(editor.prompt(f"{agent}:api:{how}", "now"))


def test_loaded_runs_are_cancelled_with_their_session(office: Live) -> None:
    with Editor(office.env, office.home) as editor:
        editor.initialize()
        session = editor.new_session()
        editor.prompt(session, "@@ ask go on")
        editor.wait_for(asked)
        editor.prompt(session, "@@ hang")
        until_sync(lambda: len(find_runs(office, session)) == 2, "both are accepted")

    with Editor(office.env, office.home) as editor:
        editor.initialize()
        editor.load(session)
        editor.wait_for(asked)
        editor.notify("session/cancel", sessionId=session)
        until_sync(lambda: [run["status"] for run in find_runs(office, session)] == ["cancelled"] * 2, "both end")


def test_a_session_from_elsewhere_is_listed_and_goes_on_in_the_editor(editor: Editor, office: Live) -> None:
    office.call("POST", "/api/agent", {"message": "from a script", "session": "elsewhere"})
    listed = editor.request("session/list", cwd=str(editor.cwd))["sessions"]
    key = "main:api:elsewhere"

    [found] = [session for session in listed if session["sessionId"] == key]
    assert (found["title"], found["cwd"]) == ("from a script", str(editor.cwd))
    editor.load(key)
    assert editor.text("user_message_chunk") == "from a script"
    editor.wait_answer(editor.prompt(key, "@@ history"))
    assert editor.text().endswith("2 messages")


def test_a_session_of_an_editor_is_listed_under_the_id_that_the_editor_knows(editor: Editor) -> None:
    session, unused = editor.new_session(), editor.new_session()
    editor.wait_answer(editor.prompt(session, "listed"))
    listed = [one["sessionId"] for one in editor.request("session/list")["sessions"]]

    assert session in listed
    assert unused not in listed


def test_a_session_is_resumed_without_its_messages(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    editor.wait_answer(editor.prompt(session, "once"))
    with Editor(office.env, office.home) as other:
        other.initialize()
        resumed = other.request("session/resume", sessionId=session, cwd=str(other.cwd), mcpServers=[])

        assert resumed["modes"]["currentModeId"] == "main"
        assert other.updates("user_message_chunk") == []


def test_the_modes_are_the_agents_and_the_first_prompt_decides(editor: Editor) -> None:
    new = editor.request("session/new", cwd=str(editor.cwd), mcpServers=[])
    session = new["sessionId"]
    editor.request("session/set_mode", sessionId=session, modeId="coder")
    editor.wait_answer(editor.prompt(session, "hello"))
    refused = editor.refuse("session/set_mode", sessionId=session, modeId="main")

    assert new["modes"]["currentModeId"] == "main"
    assert [mode["id"] for mode in new["modes"]["availableModes"]] == ["main", "coder", "painter"]
    assert editor.load(session)["modes"]["currentModeId"] == "coder"
    assert "Begin a new one to work with main" in refused["message"]


def test_the_model_of_a_session_is_chosen_among_those_that_its_agent_offers(editor: Editor, office: Live) -> None:
    session = editor.new_session()
    editor.request("session/set_mode", sessionId=session, modeId="coder")
    editor.wait_answer(editor.prompt(session, "hello"))  # with its first session, the agent tells its models
    shown = editor.updates("config_option_update")[-1]["configOptions"]
    model = {"sessionId": session, "configId": "model"}
    set_to = editor.request("session/set_config_option", **model, value="large")["configOptions"]
    refused = editor.refuse("session/set_config_option", **model, value="gigantic")
    editor.wait_answer(editor.prompt(session, "hello"))

    assert [option["id"] for option in shown] == ["agent", "model"]
    assert [choice["value"] for choice in shown[1]["options"]] == ["(default)", "small", "large"]
    assert set_to[1]["currentValue"] == "large"
    assert "does not offer the model 'gigantic'" in refused["message"]
    assert [run["model"] for run in find_runs(office, session)] == ["large", None]
    with Editor(office.env, office.home) as other:
        other.initialize()
        assert other.load(session)["configOptions"][1]["currentValue"] == "large"


def test_the_agent_is_an_option_too(editor: Editor) -> None:
    session = editor.new_session()
    options = editor.request("session/set_config_option", sessionId=session, configId="agent", value="coder")
    refused = editor.refuse("session/set_config_option", sessionId=session, configId="colour", value="red")

    assert options["configOptions"][0]["currentValue"] == "coder"
    assert [update["currentModeId"] for update in editor.updates("current_mode_update")] == ["coder"]
    assert "there is no option 'colour'" in refused["message"]


@pytest.mark.parametrize("mode", ["off", "nobody"])
def test_a_mode_that_is_no_enabled_agent_is_refused(editor: Editor, mode: str) -> None:
    refused = editor.refuse("session/set_mode", sessionId=editor.new_session(), modeId=mode)

    assert f"there is no enabled agent '{mode}'" in refused["message"]


def test_an_unknown_session_is_not_found(editor: Editor) -> None:
    refused = editor.refuse("session/load", sessionId="nowhere", cwd="/", mcpServers=[])

    assert refused["code"] == -32002


def test_links_and_embedded_files_reach_the_agent_as_text(editor: Editor) -> None:
    blocks = [
        {"type": "text", "text": "Look at"},
        {"type": "resource_link", "uri": "file:///a.py", "name": "a.py"},
        {"type": "resource", "resource": {"uri": "file:///b.py", "text": "print(1)", "mimeType": "text/x-python"}},
    ]
    editor.wait_answer(editor.send("session/prompt", sessionId=editor.new_session(), prompt=blocks))

    assert "Look at file:///a.py" in editor.text()
    assert "print(1)" in editor.text()


def test_pictures_and_other_files_reach_the_agent(editor: Editor, office: Live) -> None:
    blocks = [
        {"type": "text", "text": "@@ read"},
        {"type": "image", "data": base64.b64encode(PNG).decode(), "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file:///report.pdf", "blob": base64.b64encode(b"%PDF-").decode()}},
    ]
    session = editor.new_session()
    editor.wait_answer(editor.send("session/prompt", sessionId=session, prompt=blocks))

    [run] = find_runs(office, session)
    assert editor.text().split() == [hashlib.sha256(data).hexdigest() for data in (PNG, b"%PDF-")]
    assert [(file["name"], file["media_type"]) for file in run["attachments"]] == [
        ("image-1.png", "image/png"),
        ("report.pdf", "application/pdf"),
    ]
    assert run["input"] == "@@ read [image-1.png]  [report.pdf]"


def test_a_picture_that_is_not_base64_is_refused_with_the_reason(editor: Editor) -> None:
    picture = {"type": "image", "data": "no base64!", "mimeType": "image/png"}
    refused = editor.refuse("session/prompt", sessionId=editor.new_session(), prompt=[picture])

    assert "base64" in refused["message"]
    assert "attachments[0]" in refused["message"]


def test_files_that_the_agent_makes_are_shown_now_and_when_the_conversation_is_loaded(
    editor: Editor, office: Live
) -> None:
    session = editor.new_session()
    editor.request("session/set_mode", sessionId=session, modeId="painter")
    assert "result" in editor.wait_answer(editor.prompt(session, "draw"))
    shown = [update["content"] for update in editor.updates("agent_message_chunk")]
    with Editor(office.env, office.home) as later:
        later.initialize()
        later.load(session)
        loaded = [update["content"] for update in later.updates("agent_message_chunk")]

    pictures = [block for block in shown if block["type"] == "image"]
    links = [block for block in shown if block["type"] == "resource_link"]
    assert [(block["mimeType"], base64.b64decode(block["data"])) for block in pictures] == [("image/png", PNG)]
    assert [(block["name"], block["size"]) for block in links] == [("notes.txt", 5)]
    assert {block["name"] for block in loaded if block["type"] == "resource_link"} == {"chart.png", "notes.txt"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["crash", "restart"])
def test_a_restart_of_the_gateway_does_not_end_a_prompt(live: Callable[..., Live], how: str) -> None:
    office = live(config={"agents": AGENTS})
    office.home.chmod(0o700)
    office.start()
    with Editor(office.env, office.home) as editor:
        editor.initialize()
        session = editor.new_session()
        prompt = editor.prompt(session, "@@ ask go on")
        first = editor.wait_for(asked)
        if how == "crash":
            office.kill()
            office.start()
            request = editor.wait_for(lambda line: line.get("asks", 0) > first["asks"])
        else:
            assert Shell(office.env, office.home)("restart").code == 0
            request = first
        editor.answer(request["asks"], {"outcome": {"outcome": "selected", "optionId": "allow"}})

        assert editor.wait_answer(prompt)["result"]["stopReason"] == "end_turn"
        assert editor.text().endswith("allow")
    assert [run["attempt"] for run in find_runs(office, session)] == [2 if how == "crash" else 1]


@pytest.mark.slow
def test_a_prompt_that_is_cancelled_while_the_gateway_is_away_is_cancelled_when_it_is_back(
    live: Callable[..., Live],
) -> None:
    office = live(config={"agents": AGENTS})
    office.home.chmod(0o700)
    office.start()
    with Editor(office.env, office.home) as editor:
        editor.initialize()
        session = editor.new_session()
        prompt = editor.prompt(session, "@@ say begun\n@@ hang")
        editor.wait_for(lambda line: "update" in line and editor.text() == "begun")
        office.kill()
        editor.notify("session/cancel", sessionId=session)
        editor.refuse("session/new", cwd="/", mcpServers=[])  # the first tries to cancel have failed, too
        office.start()

        assert editor.wait_answer(prompt)["result"]["stopReason"] == "cancelled"
    assert [run["outcome"] for run in find_runs(office, session)] == ["cancelled_by_user"]


@pytest.mark.slow
def test_without_a_gateway_the_editor_shows_why_and_goes_on_when_it_runs(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    with Editor(shell.env, shell.cwd) as editor:
        editor.initialize()
        refused = editor.refuse("session/new", cwd="/", mcpServers=[])
        live.start()
        session = editor.new_session()
        answer = editor.wait_answer(editor.prompt(session, "hello"))

        assert refused["code"] == -32603
        assert "the gateway is not running. Start it: " in refused["message"]
        assert "the gateway is not running" in editor.errors
        assert answer["result"]["stopReason"] == "end_turn"


def test_a_wrong_token_is_an_error_in_the_editor(office: Live) -> None:
    with Editor({**office.env, "MOONGATE_TOKEN": "wrong"}, office.home) as editor:
        editor.initialize()

        assert (
            "refuses the token from MOONGATE_TOKEN" in editor.refuse("session/new", cwd="/", mcpServers=[])["message"]
        )


@pytest.mark.parametrize(
    "given", ["hello", "[]", "7", "\udcff", '{"a":' * 3000, '"' + "x" * (16 << 20) + '"'], ids=range(6)
)
def test_a_line_that_is_no_message_ends_nothing(office: Live, given: str) -> None:
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 1}}
    with Shell(office.env, office.home).start("acp", stdin=subprocess.PIPE, errors="surrogateescape") as program:
        out, err = program.communicate(f"{given}\n{json.dumps(hello)}\n", timeout=PATIENCE)

    unread, answered = map(json.loads, out.splitlines())
    assert (unread["id"], unread["error"]["code"]) == (None, -32700)
    assert (answered["id"], answered["result"]["protocolVersion"], err) == (1, 1, "")


def test_requests_in_a_wrong_form_are_refused_each_under_its_id(office: Live) -> None:
    lines = [
        {"id": 1, "method": "initialize", "params": {"protocolVersion": "x"}},
        {"id": 2, "method": "session/new"},
        {"id": "a", "method": "session/fly", "params": {}},
        {"id": 4, "method": "session/prompt", "params": {"sessionId": "x", "prompt": []}},
        {"id": 5, "method": 7},
        {"id": 99, "result": {}},
        {"method": "session/cancel", "params": []},
        {"method": "session/cancel", "params": {"\ud800": 1}},
        {"method": "_unknown"},
    ]
    given = "".join(json.dumps({"jsonrpc": "2.0", **line}) + "\n" for line in lines)
    done = Shell(office.env, office.home)("acp", given=given)

    codes = [(answer["id"], answer["error"]["code"]) for answer in done.lines]
    assert codes == [(1, -32602), (2, -32602), ("a", -32601), (4, -32602), (5, -32600)]
    assert done.code == 0
    assert done.err.count("cannot read a notification of the editor: the parameters are not those") == 2


def test_without_standard_error_it_works_as_well(office: Live) -> None:
    given = [
        {"id": 1, "method": "initialize", "params": {"protocolVersion": 1}},
        {"id": 2, "method": "session/new", "params": {"cwd": "/", "mcpServers": []}},
    ]
    read, write = os.pipe()
    os.close(read)
    with Shell(office.env, office.home).start("acp", stdin=subprocess.PIPE, stderr=write) as program:
        os.close(write)
        out, _ = program.communicate("".join(json.dumps(line) + "\n" for line in given), timeout=PATIENCE)

    assert ["result" in json.loads(line) for line in out.splitlines()] == [True, True]


def test_an_editor_that_closes_the_pipe_leaves_no_error_behind(office: Live) -> None:
    given = [
        {"id": 1, "method": "initialize", "params": {"protocolVersion": 1}},
        {"id": 2, "method": "session/new", "params": {"cwd": "/", "mcpServers": []}},
    ]
    with Shell(office.env, office.home).start("acp", stdin=subprocess.PIPE) as program:
        assert program.stdin is not None
        for line in given:
            program.stdin.write(json.dumps({"jsonrpc": "2.0", **line}) + "\n")
        program.stdin.flush()
        next_line(program.stdout)
        session = next_line(program.stdout)["result"]["sessionId"]
        prompt = {"sessionId": session, "prompt": [{"type": "text", "text": "@@ words 50 0.01"}]}
        program.stdin.write(
            json.dumps({"jsonrpc": "2.0", "id": 3, "method": "session/prompt", "params": prompt}) + "\n"
        )
        program.stdin.flush()
        assert next_line(program.stdout)["method"] == "session/update"
        _, err = program.communicate(timeout=PATIENCE)

    assert program.returncode == 0
    assert [line for line in err.splitlines() if "The agents work in" not in line] == []
    until_sync(lambda: [run["status"] for run in find_runs(office, session)] == ["succeeded"], "the run has ended")
