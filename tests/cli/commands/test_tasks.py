"""`gateway tasks`."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.supervisor.command_line import spell_program
from harness.command_line import Shell, next_line
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync

TASK = set(
    (
        "id status outcome agentId session source submitted_by input mode model "
        "priority labels parent retry_of attempt max_attempts cancel_requested waits last_event shortened attachments "
        "files result finish error usage rounds done session_restarted context_shortened created_at run_at "
        "started_at finished_at "
    ).split()
)


def test_add_prints_the_id_alone(shell: Shell) -> None:
    result = shell("tasks", "add", "Hello")

    assert (result.code, result.err, len(result.out)) == (0, "", 27)


def test_add_takes_all_that_a_task_has(shell: Shell) -> None:
    parent = shell("tasks", "add", "x").out.strip()
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")

    words = f"--agent main --session all --model m/1 --timeout 5 --priority 3 --run-at {later} --parent {parent}"
    made = shell("tasks", "add", "--json", *words.split(), "--label", "a=b", "--label", "c=d=e", "-", given="in\n")

    task = made.json["task"]
    assert set(task) == TASK
    assert (task["input"], task["session"], task["model"], task["priority"]) == ("in", "main:task:all", "m/1", 3)
    assert (task["labels"], task["parent"], task["run_at"][:19]) == ({"a": "b", "c": "d=e"}, parent, later[:19])
    shell("tasks", "cancel", task["id"])


def test_a_file_goes_along(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("a log")

    made = shell("tasks", "add", "--json", "hi", "--file", str(tmp_path / "log.txt")).json

    assert [(file["name"], file["size"]) for file in made["task"]["attachments"]] == [("log.txt", 5)]


def test_the_files_of_a_followed_task_are_saved(shell: Shell, tmp_path: Path) -> None:
    added = shell("tasks", "add", "@@ file a.txt one", "--watch", "--save", str(tmp_path / "out"))
    watched = shell("tasks", "watch", added.out.splitlines()[0], "--save", str(tmp_path / "out"))
    refused = shell("tasks", "add", "hi", "--save", str(tmp_path / "out"))

    assert f"Saved {tmp_path / 'out' / 'a.txt'}." in added.err
    assert f"Saved {tmp_path / 'out' / 'a-2.txt'}." in watched.err
    assert refused.code == 2
    assert "--save needs --watch" in refused.err


def test_a_goal_is_handed_in(shell: Shell) -> None:
    made = shell("tasks", "add", "--json", "--goal", "--max-rounds", "2", "x").json

    assert made["task"]["mode"] == "goal"


def test_a_task_that_waits_says_for_what(shell: Shell) -> None:
    identifier = shell("tasks", "add", "--run-at", "2099-01-01T00:00Z", "--label", "waits=long", "x").out.strip()

    shown, listed = shell("tasks", "show", identifier), shell("tasks", "list", "--label", "waits=long")
    shell("tasks", "cancel", identifier)

    assert "it must not begin before 2099-01-01T00:00:00.000Z" in shown.out
    assert listed.err == "1 of them waits: it must not begin before 2099-01-01T00:00:00.000Z.\n"


@pytest.mark.parametrize("words", [["--run-at", "noon"], ["--label", "plain"], ["--priority", "x"]])
def test_wrong_options_are_wrong_usage_and_named(words: list[str], shell: Shell) -> None:
    result = shell("tasks", "add", *words, "x")

    assert result.code == 2
    assert words[0] in result.err


def test_the_list_can_be_narrowed(shell: Shell) -> None:
    mine = shell("tasks", "add", "--label", "narrow=yes", "--watch", "x").out.splitlines()[0]
    shell("tasks", "add", "--watch", "y")

    listed = shell("tasks", "list", "--label", "narrow=yes", "--status", "succeeded", "--json").json

    assert (set(listed), [task["id"] for task in listed["tasks"]]) == ({"tasks", "next_cursor"}, [mine])
    assert shell("tasks", "list", "--label", "narrow=yes", "--status", "failed").err == "None.\n"


def test_the_list_is_aligned_without_a_terminal_and_a_table_on_one(shell: Shell) -> None:
    identifier = shell("tasks", "add", "--label", "table=1", "--watch", "some input").out.splitlines()[0]

    plain = shell("tasks", "list", "--label", "table=1").out
    with shell.terminal("tasks", "list", "--label", "table=1", env={"COLUMNS": "150"}) as at:
        assert at.end() == 0

    header, row = plain.splitlines()
    assert header.index("STATUS") == row.index("succeeded")
    assert (row.startswith(identifier), row.endswith("some input")) == (True, True)
    assert "\x1b[1m" in at.shown
    assert identifier in at.shown


@pytest.mark.parametrize("columns", ["60", "80", "110"])
@pytest.mark.parametrize("plain", [False, True], ids=["decorated", "plain"])
def test_ids_and_dates_stay_whole_on_a_narrow_terminal(shell: Shell, columns: str, plain: bool) -> None:
    identifier = shell("tasks", "add", "--label", "narrow-table=1", "--watch", "some input").out.splitlines()[0]
    created = next(row for row in shell("tasks", "show", identifier).out.splitlines() if row.startswith("Created"))

    env = {"COLUMNS": columns, **({"NO_COLOR": "1"} if plain else {})}
    with shell.terminal("tasks", "list", "--label", "narrow-table=1", env=env) as at:
        assert at.end() == 0

    assert identifier in at.shown
    assert created.removeprefix("Created").strip() in at.shown
    assert all(
        len(line) <= int(columns) for line in at.shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    )


def test_a_task_is_shown_by_a_prefix_of_its_id(shell: Shell) -> None:
    identifier = shell("tasks", "add", "--watch", "Hello").out.splitlines()[0]

    shown, told = shell("tasks", "show", identifier[:22]), shell("tasks", "show", identifier[:22], "--json")

    assert f"Task      {identifier}" in shown.out
    assert "Status    succeeded (completed)" in shown.out
    assert "Result    echo: Hello" in shown.out
    assert (set(told.json), set(told.json["task"])) == ({"status", "task", "deliveries", "permissions"}, TASK)


def test_a_running_task_is_told_to_stop(shell: Shell) -> None:
    identifier = shell("tasks", "add", "@@ hang").out.strip()

    result = shell("tasks", "cancel", identifier)
    watched = shell("tasks", "watch", identifier)

    assert result.code == 0
    assert identifier in result.out
    assert (watched.code, watched.err.split(".")[0]) == (1, "the task was cancelled")


def test_a_waiting_task_is_cancelled_at_once(shell: Shell) -> None:
    identifier = shell("tasks", "add", "--run-at", "2099-01-01T00:00", "x").out.strip()

    assert shell("tasks", "cancel", identifier) == (0, f"Cancelled {identifier}.\n", "")


def test_a_failed_task_is_tried_again_as_a_new_one(shell: Shell) -> None:
    failed = shell("tasks", "add", "--watch", "@@ fail no")

    again = shell("tasks", "retry", failed.out.splitlines()[0], "--json")

    assert failed.code == 1
    assert again.json["task"]["retry_of"] == failed.out.splitlines()[0]


def test_a_task_that_succeeded_cannot_be_tried_again(shell: Shell) -> None:
    identifier = shell("tasks", "add", "--watch", "x").out.splitlines()[0]

    result = shell("tasks", "retry", identifier, "--json")

    assert (result.code, result.json["error"]["code"]) == (1, "CONFLICT")


def test_watch_gives_the_answer_on_stdout_and_the_outcome_on_stderr(shell: Shell) -> None:
    identifier = shell("tasks", "add", "@@ words 3 0").out.strip()

    result = shell("tasks", "watch", identifier)

    assert result == (0, "w0 w1 w2 \n", "succeeded\n")


def test_watch_as_json_ends_with_the_end(shell: Shell) -> None:
    identifier = shell("tasks", "add", "@@ fail no").out.strip()

    result = shell("tasks", "watch", identifier, "--json")

    *events, told = result.lines
    assert result.code == 1
    assert (events[0]["id"], events[-1]["data"]["kind"]) == (1, "end")
    assert (events[-1]["data"]["outcome"], told["error"]["code"]) == ("agent_error", "AGENT_ERROR")


def test_watch_shows_events_as_they_come_and_ctrl_c_leaves_the_task_going(shell: Shell, served: Live) -> None:
    identifier = shell("tasks", "add", "@@ say so far\n@@ hang").out.strip()
    process = shell.start("tasks", "watch", identifier)
    assert process.stdout is not None

    came = process.stdout.read(len("so far"))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)

    assert (came, process.returncode) == ("so far", 130)
    assert told.endswith(f"Left; the task goes on. Come back: {spell_program(shell.env)} tasks watch {identifier}\n")
    assert served.call("GET", f"/api/tasks/{identifier}").body["task"]["status"] == "running"
    shell("tasks", "cancel", identifier)


def test_watch_goes_on_over_a_restart_and_misses_nothing(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.env["MOONGATE_STOP_GRACE"] = "0"
    asks = {"id": "main", "backend": "echo", "script": True, "permissions": "ask"}
    live.config.write_text(json.dumps({"gateway": {"port": 0}, "agents": {"list": [asks]}}))
    live.start()
    process = shell.start("tasks", "add", "@@ ask go on", "--watch", "--json")
    identifier = next_line(process.stdout)["task"]["id"]
    seen = [next_line(process.stdout) for _ in range(2)]
    live.stop()
    live.start()
    asked = f"/api/tasks/{identifier}/permissions"
    until_sync(lambda: any(one["answer"] is None for one in live.call("GET", asked).body["permissions"]), "it asks")
    live.call("POST", f"{asked}/{live.call('GET', asked).body['permissions'][0]['id']}", {"answer": "allow"})

    out, told = process.communicate(timeout=PATIENCE)

    events = shell("tasks", "watch", identifier, "--json").lines
    assert process.returncode == 0, told
    assert "The gateway is gone; waiting 1m for it. The task is kept." in told
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert [*seen, *(json.loads(line) for line in out.splitlines())] == events


def test_add_with_watch_follows_to_the_end(shell: Shell) -> None:
    good, bad = shell("tasks", "add", "--watch", "Hello"), shell("tasks", "add", "--watch", "@@ fail no")

    assert (good.code, good.out.splitlines()[1:]) == (0, ["echo: Hello"])
    assert (bad.code, bad.err.split(" See")[0]) == (1, "no.")


def test_on_a_terminal_watch_says_what_it_watches_and_waits_in_sight(shell: Shell) -> None:
    identifier = shell("tasks", "add", "@@ hang").out.strip()

    with shell.terminal("tasks", "watch", identifier, env={"COLUMNS": "150"}) as at:
        at.wait_for(f"{identifier}, main, ")
        at.wait_for("@@ hang")
        at.wait_for("waiting for the answer")
        at.press("\x03")
        at.wait_for("Left; the task goes on.")
        assert at.end() == 130
    shell("tasks", "cancel", identifier)


def asking(shell: Shell, *what: str) -> str:
    """Submit a task, and return its id once its agent waits for a permission."""
    identifier = shell("tasks", "add", "\n".join(f"@@ ask {one}" for one in what)).out.strip()
    until_sync(lambda: shell("tasks", "permissions", identifier, "--json").json["permissions"], "it asks")
    return identifier


def test_what_waits_for_an_answer_is_listed_over_all_tasks(shell: Shell) -> None:
    identifiers = [asking(shell, "rm -rf build"), asking(shell, "git push")]
    both = shell("tasks", "permissions", "--json").json["permissions"]
    shell("tasks", "answer", identifiers[0], "p1", "deny")
    listed = shell("tasks", "permissions").out
    shell("tasks", "answer", identifiers[1], "p1", "deny")

    assert [one["task"] for one in both if one["task"] in identifiers] == identifiers[::-1]
    assert {one["agentId"] for one in both} == {"main"}
    assert identifiers[0] not in listed
    assert re.search(rf"^{identifiers[1]} +p1 +main .* git push$", listed, re.MULTILINE)


def test_what_an_agent_asks_is_listed_and_answered(shell: Shell) -> None:
    identifier = asking(shell, "rm -rf build")

    shown = shell("tasks", "show", identifier).out
    answered = shell("tasks", "answer", identifier, "p1", "allow_always")
    again = shell("tasks", "answer", identifier, "p1", "deny", "--json")
    watched = shell("tasks", "watch", identifier)
    header, row = shell("tasks", "permissions", identifier).out.splitlines()

    assert re.search(r"^Asks +p1, until .*: rm -rf build$", shown, re.MULTILINE)
    assert re.search(
        rf"^Answer +gateway tasks answer {identifier} p1 allow \| allow_always \| deny$", shown, re.MULTILINE
    )
    assert answered == (0, f"Told {identifier} to allow always: rm -rf build\n", "")
    assert (again.code, again.json["error"]["code"]) == (1, "CONFLICT")
    assert watched.out == "allow_always\n"
    assert header.split() == ["REQUEST", "ANSWER", "BY", "ASKED", "UNTIL", "ACTION"]
    assert (row.split()[:3], row.endswith("rm -rf build")) == (["p1", "allow_always", "owner"], True)


def test_an_answer_that_there_is_not_is_wrong_usage(shell: Shell) -> None:
    identifier = asking(shell, "rm -rf build")
    wrong = shell("tasks", "answer", identifier, "p1", "perhaps")
    shell("tasks", "answer", identifier, "p1", "deny")

    assert wrong.code == 2
    assert '"perhaps" answers no permission request: it must be allow, allow_always, deny' in wrong.err


COLOUR = {"name": "colour", "type": "choice", "options": [{"value": "red", "label": "Red"}, {"value": "green"}]}
COUNT = {"name": "count", "title": "How many", "type": "integer"}
TAGS = {"name": "tags", "type": "choice", "options": [{"value": "a"}, {"value": "b"}], "multiple": True}
NOTE = {"name": "note", "required": False}


def asking_question(shell: Shell, *fields: dict[str, Any]) -> str:
    """Submit a task, and return its id once its agent waits for the answer to a question."""
    question = json.dumps({"message": "What shall it be?", "fields": fields})
    identifier = shell("tasks", "add", f"@@ question {question}").out.strip()
    until_sync(lambda: shell("tasks", "permissions", identifier, "--json").json["permissions"], "it asks")
    return identifier


@pytest.mark.parametrize("word", ["green", "GREEN", "2"])
def test_a_question_is_answered_with_an_option_by_its_name_or_number(shell: Shell, word: str) -> None:
    identifier = asking_question(shell, COLOUR)

    answered = shell("tasks", "answer", identifier, "p1", word)
    late = shell("tasks", "answer", identifier, "p1", "red")

    assert (late.code, "p1 of that task does not wait for an answer: " in late.err) == (2, True)
    assert answered == (0, f"Told {identifier} the answer to What shall it be?: green\n", "")
    assert shell("tasks", "watch", identifier).out == '{"colour":"green"}\n'
    row = shell("tasks", "permissions", identifier).out.splitlines()[1]
    assert (row.split()[:3], row.endswith("What shall it be?")) == (["p1", "green", "owner"], True)


def test_an_option_that_is_called_like_a_permission_answers_a_question(shell: Shell) -> None:
    identifier = asking_question(shell, COLOUR | {"options": [{"value": "allow"}, {"value": "red"}]})
    shown = shell("tasks", "show", identifier).out

    assert shell("tasks", "answer", identifier, "p1", "allow").code == 0
    assert shell("tasks", "watch", identifier).out == '{"colour":"allow"}\n'
    assert re.search(r"^Asks +p1, until .*: What shall it be\?\n +colour\n +1\. allow\n +2\. red$", shown, re.MULTILINE)
    assert f"gateway tasks answer {identifier} p1 ANSWER | deny\n" in shown


def test_a_question_of_several_fields_is_answered_with_pairs(shell: Shell) -> None:
    identifier = asking_question(shell, COLOUR, COUNT, TAGS, NOTE)
    words = ("colour=2", "count=3", "tags=a", "tags=b", "note=as you like")

    assert shell("tasks", "answer", identifier, "p1", *words).code == 0
    result = shell("tasks", "watch", identifier).out
    assert json.loads(result) == {"colour": "green", "count": 3, "tags": ["a", "b"], "note": "as you like"}


def test_an_answer_that_does_not_fit_a_question_is_wrong_usage_and_the_question_waits_on(shell: Shell) -> None:
    identifier = asking_question(shell, COLOUR, COUNT)

    unfit = shell("tasks", "answer", identifier, "p1", "colour=blue", "count=3")
    missing = shell("tasks", "answer", identifier, "p1", "colour=red")
    allowed = shell("tasks", "answer", identifier, "p1", "allow")
    denied = shell("tasks", "answer", identifier, "p1", "deny")

    assert (unfit.code, missing.code, allowed.code) == (2, 2, 2)
    assert "colour: it must be one of red, green." in unfit.err
    assert "count: an answer is required: an integer." in missing.err
    assert "write one line for each of colour, count" in allowed.err
    assert denied.out == f"Told {identifier} to deny: What shall it be?\n"
    assert shell("tasks", "watch", identifier).out == "null\n"


def test_in_a_pipe_watch_shows_a_question_and_says_how_to_answer(shell: Shell) -> None:
    identifier = asking_question(shell, COLOUR, COUNT)
    process = shell.start("tasks", "watch", identifier)
    assert process.stderr is not None

    told = [process.stderr.readline() for _ in range(6)]
    shell("tasks", "answer", identifier, "p1", "red", "3")
    out, _ = process.communicate(timeout=PATIENCE)

    assert told[:5] == ["The agent asks: What shall it be?\n", "colour\n", "  1. Red\n", "  2. green\n", "How many\n"]
    command = f"{spell_program(shell.env)} tasks answer {identifier} p1 colour=ANSWER count=ANSWER | deny\n"
    assert told[5].endswith(f": {command}")
    assert out == '{"colour":"red","count":3}\n'


def test_on_a_terminal_watch_asks_for_each_field_of_a_question(shell: Shell) -> None:
    identifier = asking_question(shell, COLOUR, COUNT, NOTE)

    with shell.terminal("tasks", "watch", identifier, env={"COLUMNS": "150"}) as at:
        at.wait_for(
            "The agent asks: What shall it be?\r\ncolour\r\n  1. Red\r\n  2. green\r\na number or a name (/deny"
        )
        at.press("blue\n")
        at.wait_for("colour: it must be one of red, green.")
        at.press("2\n")
        at.wait_for("How many\r\nan integer (/deny if nobody answers; until ")
        at.press("3\n")
        at.wait_for("note\r\na text; - leaves it out (")
        at.press("-\n")
        at.wait_for("asked What shall it be?: green; 3, by owner")
        at.wait_for('{"colour":"green","count":3}')
        assert at.end() == 0


def test_on_a_terminal_a_question_can_be_denied(shell: Shell) -> None:
    identifier = asking_question(shell, COLOUR)

    with shell.terminal("tasks", "watch", identifier, env={"COLUMNS": "150"}) as at:
        at.wait_for("a number or a name (/deny if nobody answers; until ")
        at.press("/deny\n")
        at.wait_for("asked What shall it be?: deny, by owner")
        assert at.end() == 0


def test_in_a_pipe_watch_says_how_to_answer(shell: Shell) -> None:
    identifier = asking(shell, "rm -rf build")
    process = shell.start("tasks", "watch", identifier)
    assert process.stderr is not None

    told = [process.stderr.readline() for _ in range(2)]
    shell("tasks", "answer", identifier, "p1", "deny")
    out, rest = process.communicate(timeout=PATIENCE)

    assert told[0] == "The agent asks to be allowed: rm -rf build\n"
    assert told[1].endswith(f": {spell_program(shell.env)} tasks answer {identifier} p1 allow | allow_always | deny\n")
    assert (out, rest.splitlines()[0]) == ("deny\n", "· asked to rm -rf build: deny, by owner")


def test_on_a_terminal_watch_asks_and_tells_the_agent(shell: Shell) -> None:
    identifier = asking(shell, "rm -rf build", "touch it")

    with shell.terminal("tasks", "watch", identifier, env={"COLUMNS": "150"}) as at:
        at.wait_for("The agent asks to be allowed: rm -rf build")
        at.wait_for("[y]es, [a]lways, [n]o (denied at ")
        at.press("what?\n")
        at.wait_for("what?")
        at.press("y\n")
        at.wait_for("asked to rm -rf build: allow, by owner")
        at.wait_for("The agent asks to be allowed: touch it")
        at.wait_for("allowed: touch it\r\nAllow it? [y]es, [a]lways, [n]o (denied at ")
        at.press("n\n")
        at.wait_for("asked to touch it: deny, by owner")
        assert at.end() == 0


def test_a_question_on_a_terminal_goes_when_somebody_else_has_answered(shell: Shell) -> None:
    with shell.terminal("agent", "@@ ask rm -rf build\n@@ hang", "--session", "elsewhere") as at:
        at.wait_for("(denied at ")
        [task] = shell("tasks", "list", "--session", "main:api:elsewhere", "--json").json["tasks"]
        shell("tasks", "answer", task["id"], "p1", "allow")
        at.wait_for("asked to rm -rf build: allow, by owner")
        at.press("y\n")
        at.press("\x03")
        at.wait_for("Left; the task goes on.")
        assert at.end() == 130
    shell("tasks", "cancel", task["id"])


def wait_asking(shell: Shell, session: str) -> str:
    """Wait until a task of a session asks, and return its id."""

    def find() -> str:
        tasks = shell("tasks", "list", "--session", session, "--json").json["tasks"]
        return next((one["id"] for one in tasks if shell("tasks", "permissions", one["id"]).out), "")

    until_sync(find, "it asks")
    return find()


def test_what_was_typed_before_a_request_was_shown_does_not_answer_it(shell: Shell) -> None:
    first = shell("tasks", "add", "--session", "main:api:typed-ahead", "@@ ask go first").out.strip()
    wait_asking(shell, "main:api:typed-ahead")

    with shell.terminal("agent", "@@ ask rm -rf build", "--session", "typed-ahead") as at:
        at.wait_for("waiting for its turn")
        at.press("y\n")
        at.wait_for("y\r\n")
        shell("tasks", "answer", first, "p1", "deny")
        at.wait_for("Allow it? [y]es, [a]lways, [n]o (denied at ")
        at.press("n\n")
        at.wait_for("asked to rm -rf build: deny, by owner")
        assert at.end() == 0


def test_after_the_end_of_the_input_a_request_says_how_to_answer_it(shell: Shell) -> None:
    with shell.terminal("agent", "@@ ask rm -rf build\n@@ ask touch it", "--session", "left-open") as at:
        at.wait_for("(denied at ")
        at.press("\x04")
        at.wait_for("p1 allow | allow_always | deny")
        task = wait_asking(shell, "main:api:left-open")
        shell("tasks", "answer", task, "p1", "deny")
        at.wait_for("p2 allow | allow_always | deny")
        shell("tasks", "answer", task, "p2", "deny")
        assert at.end() == 0


@pytest.mark.slow
def test_an_answer_that_did_not_reach_the_gateway_can_be_typed_again(live: Callable[..., Live]) -> None:
    office = live(
        config={"agents": {"list": [{"id": "main", "backend": "echo", "script": True, "permissions": "ask"}]}}
    )
    office.home.chmod(0o700)
    office.start()
    shell = Shell(office.env, office.home)
    question = {"message": "Which colour?", "fields": [{"name": "colour"}]}
    with shell.terminal("agent", f"@@ question {json.dumps(question)}") as at:
        at.wait_for("(/deny if nobody answers")
        office.kill()
        at.wait_for("The gateway is gone")
        at.press("red\n")
        at.wait_for("Start it: gateway start\x1b[0m\r\nThe agent asks: Which colour?")
        at.press("blue\n")
        refused = "blue\r\n\x1b[2mthe gateway is not running."
        at.wait_for(refused)
        # Keys that are pressed before it asks again are forgotten, with luck also Ctrl-C.
        at.wait_for("The agent asks: Which colour?", after=at.shown.index(refused))
        at.press("\x03")
        assert at.end() == 130


def test_a_task_is_found_by_any_part_of_its_id_that_no_other_has(shell: Shell) -> None:
    identifier = shell("tasks", "add", "--watch", "by part").out.splitlines()[0]

    for part in (identifier[-8:], identifier[-8:].lower(), identifier[8:20], identifier[:20]):
        assert shell("tasks", "show", part, "--json").json["task"]["id"] == identifier


def test_the_last_task_needs_no_id(shell: Shell) -> None:
    identifier = shell("tasks", "add", "--watch", "newest").out.splitlines()[0]

    assert shell("tasks", "show", "--last", "--json").json["task"]["id"] == identifier
    assert shell("tasks", "watch", "--last").out == "echo: newest\n"
    both, none = shell("tasks", "show", "--last", identifier), shell("tasks", "show")
    assert (both.code, none.code) == (2, 2)
    assert "Give an ID, or --last" in none.err


def test_an_ambiguous_part_lists_the_tasks_that_have_it(shell: Shell) -> None:
    ids = [shell("tasks", "add", "--watch", "x").out.splitlines()[0] for _ in range(2)]

    result = shell("tasks", "watch", ids[0][:4])
    unknown = shell("tasks", "watch", "0000ZZZZ")

    assert result.code == 1
    assert all(identifier in result.err for identifier in ids)
    assert "last characters" in result.err
    assert unknown.err == "there is no task with the id '0000ZZZZ'.\n"


def test_tasks_since_a_time_are_listed_with_their_end_and_cost(shell: Shell) -> None:
    identifier = shell("tasks", "add", "--label", "since=1", "--watch", "x").out.splitlines()[0]

    listed = shell("tasks", "list", "--label", "since=1", "--since", "1h").out
    assert listed.splitlines()[0].split() == "TASK STATUS AGENT CREATED ENDED TOOK COST INPUT".split()
    assert identifier in listed
    assert "unknown" in listed  # the echo agent reports no cost
    assert shell("tasks", "list", "--label", "since=1", "--since", "2099-01-01").err == "None.\n"
    wrong = shell("tasks", "list", "--since", "yesterday")
    assert (wrong.code, "2h" in wrong.err) == (2, True)


def test_the_unknown_cost_of_a_task_is_said_as_usage_says_it(shell: Shell) -> None:
    shell("tasks", "add", "--watch", "x")

    assert re.search(r"^Usage .*cost unknown$", shell("tasks", "show", "--last").out, re.MULTILINE)


def test_tasks_are_filtered_by_statuses_words_and_time(shell: Shell) -> None:
    later = ("--run-at", "2099-01-01T00:00Z", "--label", "fruit=kumquat")
    identifier = shell("tasks", "add", *later, "peel a kumquat").out.strip()

    def listed(*words: str) -> list[str]:
        return [task["id"] for task in shell("tasks", "list", "--json", *words).json["tasks"]]

    found = listed("--status", "held,queued", "--text", "kumquat", "--source", "task", "--label", "fruit")
    other = listed("--text", "kumquat", "--until", "2020-01-01")
    refused = shell("tasks", "list", "--status", "queued,asleep")
    shown = shell("tasks", "show", identifier)
    shell("tasks", "cancel", identifier)

    assert (found, other) == ([identifier], [])
    assert refused.code == 2
    assert "'asleep' is not one of 'held', 'queued'" in refused.err
    assert re.search(r"Source +task, by owner", shown.out)
