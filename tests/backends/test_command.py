"""Any program as an agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.backends import BackendResources
from gateway.backends.command import backend as command
from gateway.backends.command.backend import CommandBackend
from gateway.backends.command.options import Options
from gateway.backends.command.presets import KNOWN_PROGRAMS, ProgramPreset
from gateway.backends.command.rules import value_at
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.event import Log, Notice, Text, Tool, ToolEnd, Usage
from gateway.domain.ports.backend import Abilities, Turn
from gateway.domain.run import FinishReason
from gateway.errors import AgentError
from gateway.process import identity
from gateway.process.child import Children
from harness.waiting import until
from tests.support.fixtures import children, ledger
from tests.support.ledger import MemoryLedger
from tests.support.turns import Heard, exchange, listen, turn

__all__ = ["children", "ledger"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are POSIX shell scripts")

Ask = Callable[..., Any]


def agent(*argv: str, env: dict[str, str] | None = None, system_prompt: str | None = None, **options: Any) -> Agent:
    return Agent(
        id="main",
        backend="command",
        env=env or {},
        system_prompt=system_prompt,
        options=msgspec.convert({"command": argv, **options}, Options),
    )


def script(text: str, **options: Any) -> Agent:
    return agent("sh", "-c", text, "sh", **options)


def resumable(*lines: str, **options: Any) -> Agent:
    """Return an agent whose program names a session, and is told to continue it."""
    rules = [{"session": "id"}, {"text": "text"}, {"error": "error"}]
    resume = ["--session", "{session}"]
    return script("\n".join(lines), output="jsonl", map=rules, resume_args=resume, **options)


@pytest.fixture
async def backend(children: Children, ledger: MemoryLedger, tmp_path: Path) -> AsyncIterator[CommandBackend]:
    async with CommandBackend(BackendResources(children=children, environ={}, directory=tmp_path)) as opened:
        yield opened
    assert not ledger.recorded


@pytest.fixture
def ask(backend: CommandBackend, tmp_path: Path) -> Ask:
    async def asked(who: Agent, text: str = "", heard: Heard | None = None, **about: Any) -> Heard:
        return await listen(backend, turn(who, text, workspace=tmp_path, **about), heard)

    return asked


# --- the prompt -------------------------------------------------------------------------------

TRICKY_PROMPTS = [
    "-n --help",
    "--",
    "$(touch hacked) `touch hacked`",
    "; touch hacked",
    "a\nb\n",
    "é→\u2028",
    "'\"\\",
    " ",
]


@pytest.mark.parametrize("text", [*TRICKY_PROMPTS, "a\0b", "x" * 200_000])
async def test_a_prompt_on_stdin_arrives_unchanged(ask: Ask, tmp_path: Path, text: str) -> None:
    await ask(script("cat >given"), text)

    assert (tmp_path / "given").read_bytes() == text.encode()
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("text", [*TRICKY_PROMPTS, "x" * 100_000])
async def test_a_prompt_as_an_argument_arrives_unchanged(ask: Ask, tmp_path: Path, text: str) -> None:
    heard = await ask(script('printf "%s|" "$@"', prompt="argument"), text)

    assert heard.answer == f"--|{text}|"
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("text", ["a\0b", "x" * 200_000])
async def test_a_prompt_that_cannot_be_an_argument_is_an_agent_error(ask: Ask, text: str) -> None:
    with pytest.raises(AgentError, match="cannot start"):
        await ask(script("true", prompt="argument"), text)


async def test_a_prompt_that_is_not_unicode_is_still_a_prompt(ask: Ask) -> None:
    assert (await ask(agent("cat"), "lone \udc80 surrogate")).answer == "lone ? surrogate"


async def test_a_program_may_write_much_before_it_reads(ask: Ask) -> None:
    heard = await ask(script("head -c 1000000 /dev/zero | tr '\\0' x; wc -c"), "y" * 1_000_000)

    assert heard.answer == "x" * 1_000_000 + "1000000"


async def test_a_program_need_not_read_its_prompt(ask: Ask) -> None:
    assert (await ask(script("exec <&-; echo done"), "x" * 1_000_000)).answer == "done"


async def test_a_prompt_as_an_argument_leaves_stdin_empty(ask: Ask) -> None:
    assert (await ask(script("wc -c", prompt="argument"), "hello")).answer.strip() == "0"


async def test_a_system_prompt_goes_before_the_first_prompt(ask: Ask) -> None:
    assert (await ask(agent("cat", system_prompt="Be brief."), "hello")).answer == "Be brief.\n\nhello"


async def test_a_system_prompt_goes_where_the_arguments_say(ask: Ask) -> None:
    who = script('echo "$@"; cat', system_prompt="Be brief.", system_args=["--system={system_prompt}"])

    assert (await ask(who, "hello")).answer == "--system=Be brief.\nhello"


# --- arguments and environment ----------------------------------------------------------------


@pytest.mark.parametrize(("model", "argv"), [(None, ""), ("a/b:c", "--model a/b:c")])
async def test_a_model_that_a_turn_names_is_passed_on(ask: Ask, model: str | None, argv: str) -> None:
    heard = await ask(script('echo "$@"', model_args=["--model", "{model}"]), model=model)

    assert heard.answer == argv


@pytest.mark.parametrize("odd", ["--yolo", "-x", "a b", "a\nb", "$(id)", "", "x" * 300])
async def test_neither_a_model_nor_a_session_can_become_an_option(odd: str) -> None:
    options = {"model_args": ["{model}"], "resume_args": ["{session}"]}
    who = script("true", output="jsonl", map=[{"session": "id"}], **options)

    for about in ({"model": odd}, {"session_ref": odd}):
        if odd:
            with pytest.raises(AgentError, match="special characters"):
                command.build_arguments(turn(who, "hello", **about))  # type: ignore[arg-type]
        else:
            assert command.build_arguments(turn(who, "hello", **about)) == ["sh", "-c", "true", "sh"]  # type: ignore[arg-type]


async def test_placeholders_inside_values_are_not_filled_in(ask: Ask) -> None:
    who = script(
        'echo "$@"', model_args=["{model}"], system_args=["{system_prompt}"], system_prompt="{model} {session}"
    )

    assert (await ask(who, model="m")).answer == "m {model} {session}"


async def test_a_program_gets_its_own_environment_and_no_key_of_the_gateway(ask: Ask) -> None:
    heard = await ask(agent("env", env={"OWN": "mine"}))

    assert "OWN=mine" in heard.answer
    assert "sk-of-the-gateway" not in heard.answer


async def test_a_variable_of_the_gateway_is_passed_on_if_an_option_names_it(children: Children, tmp_path: Path) -> None:
    tools = BackendResources(children=children, environ={"KEY": "k", "OTHER": "o"}, directory=tmp_path)
    async with CommandBackend(tools) as opened:
        heard = await listen(opened, turn(agent("env", pass_env=["KEY", "NONE"]), "", workspace=tmp_path))

    assert "KEY=k" in heard.answer.splitlines()
    assert "OTHER" not in heard.answer


async def test_a_program_works_in_the_workspace(ask: Ask, tmp_path: Path) -> None:
    assert (await ask(agent("pwd"))).answer == str(tmp_path)


# --- text -------------------------------------------------------------------------------------


async def test_text_comes_as_it_is_written(backend: CommandBackend, tmp_path: Path) -> None:
    who = script("echo one; until [ -e go ]; do sleep 0.01; done; echo two")

    stream = backend.stream_turn(turn(who, "", workspace=tmp_path))
    first = await anext(stream)
    (tmp_path / "go").write_text("\n")
    rest = [said async for said in stream]

    assert first == Text(delta="one")
    assert rest == [Text(delta="\ntwo")]


async def test_a_character_that_is_cut_in_two_is_put_together(backend: CommandBackend, tmp_path: Path) -> None:
    who = script(r"printf 'a\342\202'; until [ -e go ]; do sleep 0.01; done; printf '\254'")

    stream = backend.stream_turn(turn(who, "", workspace=tmp_path))
    first = await anext(stream)
    (tmp_path / "go").write_text("\n")
    rest = [said async for said in stream]

    assert [first, *rest] == [Text(delta="a"), Text(delta="€")]


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        (r"\377\376ok", "��ok"),
        (r"cut \342\202", "cut �"),
        (r"a\n\nb\n\n", "a\n\nb"),
        (r"\n\n", ""),
        (r"", ""),
    ],
)
async def test_whatever_is_written_becomes_text(ask: Ask, written: str, answer: str) -> None:
    assert (await ask(script(f"printf '{written}'"))).answer == answer


# --- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("echo went wrong >&2; exit 3", "the command exited with status 3: went wrong"),
        ("exit 7", "the command exited with status 7."),
        ("kill -9 $$", "the command was killed by SIGKILL."),
        ("kill -40 $$", "the command was killed by signal 40."),
        (r"printf '\033[31mred\007\n' >&2; exit 1", "the command exited with status 1: red"),
    ],
)
async def test_a_failure_tells_the_status_and_the_reason(ask: Ask, ending: str, message: str) -> None:
    heard = Heard()
    with pytest.raises(AgentError) as failure:
        await ask(script(f"echo partial; {ending}"), heard=heard)

    assert str(failure.value) == message
    assert heard.answer == "partial"


async def test_standard_error_is_told_while_the_program_works(ask: Ask, tmp_path: Path) -> None:
    """The program waits for a file that is written only when its line was told."""
    heard = Heard()
    waits = "until [ -e go ]; do sleep 0.01; done"
    asking = asyncio.ensure_future(ask(script(f"echo busy, trying again >&2; {waits}; echo done"), heard=heard))

    await until(
        lambda: [log.message for log in heard.of(Log)] == ["the program writes: busy, trying again"], "the line is told"
    )
    (tmp_path / "go").touch()

    assert (await asking).answer == "done"


async def test_only_the_last_of_stderr_is_shown(ask: Ask) -> None:
    with pytest.raises(AgentError) as failure:
        await ask(script("seq 100000 >&2; exit 1"))

    assert str(failure.value).endswith("99999\n100000")
    assert len(str(failure.value)) < command.MAX_SHOWN_STDERR_CHARACTERS + 100


async def test_a_program_that_is_not_there_is_an_agent_error(ask: Ask) -> None:
    with pytest.raises(AgentError, match="no such program"):
        await ask(agent("no-such-program"))


async def test_too_much_output_is_an_agent_error_and_stops_the_program(ask: Ask, ledger: MemoryLedger) -> None:
    with pytest.raises(AgentError, match="more than 100000 bytes"):
        await ask(agent("yes", max_output=100_000))

    assert not ledger.alive()


async def test_a_program_that_closes_its_output_is_waited_for(ask: Ask) -> None:
    with pytest.raises(AgentError, match="status 5"):
        await ask(script("exec >&-; cat >/dev/null; exit 5"))


# --- JSON lines -------------------------------------------------------------------------------


def writes(*lines: Any, rules: list[dict[str, Any]], then: str = "", **options: Any) -> Agent:
    """Return an agent that writes these values as JSON lines, and text as it is."""
    written = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return script(f"cat <<'END'\n{written}\nEND\n{then}", output="jsonl", map=rules, **options)


async def test_a_known_program_is_read_by_its_preset(ask: Ask) -> None:
    used = {"tokens": {"input": 12, "output": 3, "cache": {"read": 5}}, "cost": 0.25}
    lines = [
        {"type": "step_start", "sessionID": "ses_1", "part": {}},
        {"type": "reasoning", "sessionID": "ses_1", "part": {"text": "Hm."}},
        {"type": "text", "sessionID": "ses_1", "part": {"text": "Looking."}},
        {"type": "tool_use", "sessionID": "ses_1", "part": {"callID": "c1", "tool": "bash", "state": _LISTED}},
        {"type": "tool_use", "sessionID": "ses_1", "part": {"callID": "c2", "tool": "read", "state": _FAILED}},
        {"type": "text", "sessionID": "ses_1", "part": {"text": "Two files."}},
        {"type": "step_finish", "sessionID": "ses_1", "part": used},
    ]

    heard = await ask(opencode_run(*(f"echo '{json.dumps(line)}'" for line in lines)))

    assert heard.answer == "Looking.\n\nTwo files."
    assert heard.thought == "Hm."
    assert heard.session_ref == "ses_1"
    assert heard.usage == Usage(input=12, output=3, cached=5, cost=0.25)
    assert heard.of(Tool) == [Tool(id="c1", name="bash", args={"command": "ls"}), Tool(id="c2", name="read", args={})]
    assert heard.of(ToolEnd) == [
        ToolEnd(id="c1", name="bash", output="a b"),
        ToolEnd(id="c2", name="read", output="no such file", is_error=True),
    ]


_LISTED = {"status": "completed", "input": {"command": "ls"}, "output": "a b"}
_FAILED = {"status": "error", "input": {}, "error": "no such file"}


def opencode_run(*script: str, **about: Any) -> Agent:
    """Return an agent of the preset, with a shell script in the place of the program."""
    prepare = '[ "$1" = session ] && { echo prepared >>prepared; exit; }'
    options = {"preset": "opencode-run", "command": ["sh", "-c", "\n".join([prepare, *script]), "opencode"]}
    return Agent(id="main", backend="command", options=msgspec.convert(options, Options), **about)


async def test_a_known_program_gets_the_arguments_of_its_preset(ask: Ask) -> None:
    who = opencode_run("""printf '{"type":"text","part":{"text":"%s"}}' "$*" """, permissions=PermissionPolicy.ALLOW)

    heard = await ask(who, model="a/b", session_ref="ses_1")

    assert heard.answer == "run --format json --thinking --title Moongate --auto --model a/b --session ses_1"


async def test_a_known_program_prepares_its_home_once_before_its_turns(ask: Ask, tmp_path: Path) -> None:
    who = opencode_run("""printf '{"type":"text","part":{"text":"%s"}}' $(cat prepared)""")

    heard = await asyncio.gather(*(ask(who) for _ in range(3)))

    assert [one.answer for one in heard] == ["prepared"] * 3
    assert (tmp_path / "prepared").read_text() == "prepared\n"


async def test_a_session_that_a_known_program_has_lost_is_replaced_with_a_warning(ask: Ask) -> None:
    who = opencode_run(
        'case "$*" in *--session*) echo "Error: Session not found" >&2; exit 1;; esac',
        """printf '{"type":"text","sessionID":"ses_2","part":{"text":"%s"}}' "$(tr '\\n' ' ')" """,
        system_prompt="Be brief.",
    )

    heard = await ask(who, "Hello", session_ref="ses_1")

    assert (heard.answer, heard.session_ref) == ("Be brief.  Hello", "ses_2")
    assert any("has lost its session: the agent begins a new conversation" in log for log in heard.logs)


@pytest.mark.parametrize(
    "said",
    [
        "Error: Session not found",
        "No conversation found with session ID: s-1",
        "unknown session s-1",
        "the thread s-1 does not exist",
        "could not resume session s-1",
    ],
)
@pytest.mark.parametrize("as_event", [False, True])
async def test_a_command_that_has_lost_its_session_is_given_the_transcript(ask: Ask, said: str, as_event: bool) -> None:
    fail = f"""echo '{{"error":"{said}"}}'""" if as_event else f"echo '{said}' >&2; exit 1"
    who = resumable(
        f'case "$*" in *--session*) {fail}; exit;; esac',
        """printf '{"id":"s-2","text":"%s"}' "$(tr '\n' ' ')" """,
    )

    heard = await ask(who, "What is my name?", session_ref="s-1", history=exchange("I am Ada", "Hello Ada", "r1"))

    assert "User: I am Ada  Assistant: Hello Ada" in heard.answer
    assert heard.answer.rstrip().endswith("What is my name?")
    assert heard.session_ref == "s-2"
    assert [log.notice for log in heard.of(Log) if log.notice] == [Notice.SESSION_RESTARTED]


async def test_another_failure_of_a_resumed_session_is_not_tried_again(ask: Ask, tmp_path: Path) -> None:
    who = resumable("echo again >> runs", "echo 'no credit' >&2; exit 1")

    with pytest.raises(AgentError, match="no credit"):
        await ask(who, "Hello", session_ref="s-1", history=exchange("I am Ada", "Hello Ada", "r1"))

    assert (tmp_path / "runs").read_text() == "again\n"


async def test_a_session_that_went_on_without_the_command_is_told_to_it(ask: Ask) -> None:
    """For example after the agent has got another backend."""
    who = resumable("""printf '{"id":"s-2","text":"%s"}' "$(tr '\n' ' ')" """)

    heard = await ask(who, "What is my name?", history=exchange("I am Ada", "Hello Ada", "r1"))

    assert "User: I am Ada" in heard.answer
    assert [log.notice for log in heard.of(Log)] == [Notice.SESSION_RESTARTED]


async def test_a_transcript_in_an_argument_is_no_longer_than_the_system_allows(ask: Ask) -> None:
    who = resumable("""printf '{"id":"s-2","text":"%s"}' "$(printf %s "$2" | wc -c)" """, prompt="argument")
    history = [said for n in range(40) for said in exchange("汉" * 3000, "é" * 3000, f"r{n}")]

    heard = await ask(who, "x" * 100_000, history=history)

    assert 100_000 < int(heard.answer) < 131_072


async def test_a_failure_that_a_known_program_does_not_explain_comes_with_a_remedy(ask: Ask) -> None:
    why = {"type": "error", "error": {"data": {"message": "Unexpected server error. Check server logs for details."}}}

    with pytest.raises(AgentError, match="Unexpected server error") as failure:
        await ask(opencode_run(f"echo '{json.dumps(why)}'; exit 1"))

    assert "opencode models" in str(failure.value.remedy)


async def test_what_a_known_program_started_outside_its_group_is_ended_with_it(ask: Ask, tmp_path: Path) -> None:
    stray = "import os, time; os.setsid(); open('stray', 'w').write(str(os.getpid())); time.sleep(600)"
    who = opencode_run(
        f'{sys.executable} -c "{stray}" </dev/null >/dev/null 2>&1 &', "while [ ! -s stray ]; do sleep 0.02; done"
    )

    await ask(who)

    assert identity.identify_process(int((tmp_path / "stray").read_text())) is None


async def test_a_missing_known_program_comes_with_its_install_command(ask: Ask, backend: CommandBackend) -> None:
    who = Agent(
        id="main", backend="command", options=Options(preset=ProgramPreset.OPENCODE_RUN), env={"PATH": "/nowhere"}
    )

    health = await backend.check_health(who)
    with pytest.raises(AgentError, match="no such program") as failure:
        await ask(who)

    assert (health.ok, failure.value.remedy) == (False, KNOWN_PROGRAMS[ProgramPreset.OPENCODE_RUN].install)
    assert KNOWN_PROGRAMS[ProgramPreset.OPENCODE_RUN].install in health.detail


def test_the_documented_options_are_valid() -> None:
    assert command.__doc__
    start = command.__doc__.index('{"id": "main", "backend": "command", "output"')
    example: dict[str, Any] = json.JSONDecoder().raw_decode(command.__doc__[start:])[0]
    options = {name: value for name, value in example.items() if name not in ("id", "backend")}

    assert msgspec.convert(options, Options).resume_args == ["--session", "{session}"]


async def test_a_session_that_the_program_named_is_resumed(ask: Ask) -> None:
    who = script(
        """printf '{"id":"s1","text":"given: %s"}' "$*" """,
        output="jsonl",
        map=[{"session": "id", "text": "text"}],
        resume_args=["--session", "{session}"],
    )

    first = await ask(who)
    second = await ask(who, session_ref=first.session_ref)

    assert (first.answer, second.answer) == ("given: ", "given: --session s1")


async def test_a_session_is_reported_once(ask: Ask) -> None:
    heard = await ask(writes({"id": "s1"}, {"id": "s1"}, {"id": "s2"}, rules=[{"session": "id"}]))

    assert [type(said).__name__ for said in heard.said] == ["SessionRef", "SessionRef"]


async def test_a_session_with_an_unsafe_name_is_not_kept(ask: Ask) -> None:
    heard = await ask(writes({"id": "--yolo"}, rules=[{"session": "id"}]))

    assert heard.session_ref is None
    assert "special characters" in heard.logs[0]


async def test_an_error_line_fails_the_turn_with_its_message(ask: Ask) -> None:
    heard = Heard()
    rules: list[dict[str, Any]] = [{"text": "text"}, {"when": {"type": "error"}, "error": "why.message"}]
    who = writes({"text": "so far"}, {"type": "error", "why": {"message": "out of luck"}}, rules=rules, then="exit 1")

    with pytest.raises(AgentError, match=r"^out of luck$"):
        await ask(who, heard=heard)

    assert heard.answer == "so far"


@pytest.mark.parametrize("error", [None, False, "", {}])
async def test_an_empty_error_is_no_failure(ask: Ask, error: Any) -> None:
    assert (await ask(writes({"t": "fine", "error": error}, rules=[{"text": "t", "error": "error"}]))).answer == "fine"


async def test_a_reply_replaces_the_text(ask: Ask) -> None:
    heard = await ask(writes({"t": "draft"}, {"all": "final"}, rules=[{"text": "t", "reply": "all"}]))

    assert heard.answer == "final"


async def test_thinking_and_values_that_are_no_text_are_passed_on(ask: Ask) -> None:
    heard = await ask(writes({"th": "hm", "t": {"a": [1, None]}}, {"t": 5}, rules=[{"thinking": "th", "text": "t"}]))

    assert heard.thought == "hm"
    assert heard.answer == '{"a":[1,null]}5'


async def test_half_a_character_is_shown_as_an_unknown_one(ask: Ask) -> None:
    heard = await ask(writes({"t": "half \ud83d of it, \U0001f600, \\ud83d"}, rules=[{"text": "t"}]))

    assert heard.answer == "half \N{REPLACEMENT CHARACTER} of it, \U0001f600, \\ud83d"
    assert heard.logs == []


async def test_lines_that_are_not_json_objects_are_skipped(ask: Ask) -> None:
    strange = ["Welcome!", "[1]", "7", "{", "[" * 100_000, "{'a': 1}", "NaN"]

    heard = await ask(writes(*strange, "", {"t": "ok"}, rules=[{"text": "t"}]))

    assert heard.answer == "ok"
    assert heard.logs[0].startswith("passed over 7 lines that were not JSON objects: Welcome!\n[1]\n7\n{\n[[[")
    assert len(heard.logs[0]) < 1000


def prints(out: bytes, *, err: bytes = b"", code: int = 0, **options: Any) -> Agent:
    """Return an agent whose program prints these bytes."""
    program = "import os, sys; out, err, code = sys.argv[1:]; [os.write(1, bytes.fromhex(one)) for one in out.split()]"
    program += "; os.write(2, bytes.fromhex(err)); sys.exit(int(code))"
    return agent(sys.executable, "-I", "-S", "-c", program, out.hex(), err.hex(), str(code), **options)


JSON_LINES: dict[str, Any] = {"output": "jsonl", "map": [{"text": "t"}]}


async def test_lines_begin_at_their_first_brace(ask: Ask) -> None:
    """A program sets a title and hides the cursor before its first line, and resets a colour after it."""
    written = b'\x1b]0;{title}\x07\x1b[?25h{"t":"one"}\x1b[0m\r\nLoading 9%\rLoading 100%\r{"t":" two"}\n'

    heard = await ask(prints(written, **JSON_LINES))

    assert heard.answer == "one two"  # what a terminal shows in the place of a message has gone when it comes
    assert heard.logs == ["passed over text that was not JSON objects: Loading 100%"]


async def test_what_stood_outside_of_the_json_lines_is_in_the_error(ask: Ask) -> None:
    with pytest.raises(AgentError, match=r"the command exited with status 3: No licence$"):
        await ask(prints(b"\x1b[31mNo licence\x1b[0m\n", code=3, **JSON_LINES))


# --- what programs leave behind ----------------------------------------------------------------

#: starts a process in a session of its own, and prints its PID
STRAY = "import subprocess as s; print(s.Popen(['sleep', '600'], start_new_session=True, stdout=-3, stderr=-3).pid)"


@pytest.mark.parametrize(("ending", "fails"), [("", False), ("; raise SystemExit(3)", True)])
async def test_what_a_program_started_in_a_session_of_its_own_ends_with_the_turn(
    ask: Ask, ending: str, fails: bool
) -> None:
    heard = Heard()
    with pytest.raises(AgentError) if fails else contextlib.nullcontext():
        await ask(agent(sys.executable, "-I", "-S", "-c", f"{STRAY}{ending}"), heard=heard)

    assert identity.identify_process(int(heard.answer)) is None


# --- what programs write for a terminal -------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        b"\x1b]0;agent\x07\x1b[?25l\x1b[32m\xe2\x9c\x94 passed\x1b[0m\nbold\n\x1b[?25h",
        b"\x9b32m\xe2\x9c\x94 passed\xc2\x9b0m\r\n\x1b[1mbold\x1b(B\x1b[m\n",
    ],
)
async def test_control_sequences_are_no_part_of_an_answer(ask: Ask, written: bytes) -> None:
    assert (await ask(prints(written))).answer == "✔ passed\nbold"


async def test_a_progress_bar_is_shown_as_it_was_in_the_end(ask: Ask) -> None:
    written = b"Loading 10%\rLoading 50%\rLoading 100%\r\x1b[KDone\nok\n"

    assert (await ask(prints(written))).answer == "Done\nok"


async def test_an_error_has_no_control_sequences(ask: Ask) -> None:
    with pytest.raises(AgentError, match=r"exited with status 1: Error: no$"):
        await ask(prints(b"", err=b"\x1b[1;31mError:\x1b[0m no\r\n", code=1))


async def test_a_program_is_told_that_there_is_no_terminal(ask: Ask) -> None:
    assert (await ask(script('echo "$TERM $NO_COLOR ${COLORTERM-}"'))).answer == "dumb 1 "
    assert (await ask(script('echo "$TERM"', env={"TERM": "xterm"}))).answer == "xterm"


@pytest.mark.parametrize("used", [{"n": -1}, {"n": "5"}, {"n": 1e300}, {"n": None}, {"n": []}, {}, {"n": 10**40}])
async def test_usage_that_is_not_valid_is_ignored(ask: Ask, used: dict[str, Any]) -> None:
    heard = await ask(writes(used, rules=[{"usage": {"input": "n", "cost": "n"}}]))

    assert heard.said == []


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ('{"session": "s1"}', "without an answer."),
        ('{"other": "field"}', "without an answer."),
        ("Internal Server Error", "without an answer: Internal Server Error"),
        ('{"t": ""}', "without an answer."),
        (r'{"t": "\u200b\u001b[0m"}', "without an answer."),
        ('log: {"t": "hi"}', "without an answer: log: {"),
        ('{"t": "hi"} was sent', "without an answer: {.* was sent"),
        ('10%\r50%: {"t": "hi"}', "without an answer: 50%: {"),
        ('"{"t": "hi"}', "without an answer"),
        ('{x} log: {"t": "hi"}', "without an answer: {x} log"),
    ],
)
async def test_json_lines_without_an_answer_are_a_failure(ask: Ask, written: str, error: str) -> None:
    with pytest.raises(AgentError, match=error):
        await ask(prints(written.encode(), output="jsonl", map=[{"session": "session"}, {"text": "t"}]), "hi")


FINISHING: list[dict[str, Any]] = [{"text": "t"}, {"finish": "why"}, {"tool": {"id": "id", "name": "name"}}]


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ({"why": "length"}, FinishReason.LENGTH),
        ({"why": "max_tokens"}, FinishReason.LENGTH),
        ({"why": "MAX-TURNS"}, FinishReason.LENGTH),
        ({"why": "content_filter"}, FinishReason.CONTENT_FILTER),
        ({"why": "refusal"}, FinishReason.CONTENT_FILTER),
        ({"why": "stop"}, FinishReason.STOP),
        ({"why": "tool-calls"}, FinishReason.STOP),
        ({"why": 7}, FinishReason.STOP),
        ({"other": "length"}, FinishReason.STOP),
    ],
)
async def test_the_end_of_an_answer_has_its_reason(ask: Ask, said: dict[str, Any], finish: FinishReason) -> None:
    heard = await ask(writes({"t": "half"}, said, rules=FINISHING))

    assert (heard.answer, heard.finish) == ("half", finish)


async def test_the_last_reason_of_several_steps_counts(ask: Ask) -> None:
    heard = await ask(writes({"t": "one", "why": "length"}, {"t": " two", "why": "stop"}, rules=FINISHING))

    assert heard.finish is FinishReason.STOP


async def test_a_limit_that_ends_a_silent_work_is_a_failure(ask: Ask) -> None:
    with pytest.raises(AgentError, match="without an answer"):
        await ask(writes({"id": "1", "name": "bash"}, {"why": "length"}, rules=FINISHING))


async def test_a_program_that_ends_at_a_failed_tool_has_failed(ask: Ask) -> None:
    rules = [{"text": "t"}, {"tool": {"id": "id", "name": "name", "output": "out", "error": "why"}}]
    done, failed = {"id": "1", "name": "ls", "out": "a"}, {"id": "2", "name": "bash", "why": "denied"}

    assert (await ask(writes(failed, done, rules=rules))).answer == ""
    assert (await ask(writes(failed, {"t": "I could not."}, rules=rules))).answer == "I could not."
    with pytest.raises(AgentError, match="without an answer"):
        await ask(writes(done, failed, rules=rules))


async def test_the_failure_of_a_program_comes_before_its_missing_answer(ask: Ask) -> None:
    with pytest.raises(AgentError, match="exited with status 3: no memory"):
        await ask(script("echo '{}'; echo no memory >&2; exit 3", **JSON_LINES), "hi")


@pytest.mark.parametrize(
    ("written", "rules"),
    [
        ("", [{"text": "t"}]),
        ('{"id": "1", "name": "bash"}', [{"text": "t"}, {"tool": {"id": "id", "name": "name"}}]),
        ('{"session": "s1"}', [{"session": "session"}]),
    ],
    ids=["nothing written", "a tool", "no rule reads answers"],
)
async def test_a_program_may_work_without_a_word(ask: Ask, written: str, rules: list[dict[str, Any]]) -> None:
    heard = await ask(script(f"printf %s '{written}'", output="jsonl", map=rules), "hi")

    assert heard.answer == ""


async def test_a_line_that_is_too_long_is_an_agent_error(ask: Ask) -> None:
    who = script("head -c 20000000 /dev/zero", output="jsonl", map=[{"text": "t"}], max_output=1 << 30)

    with pytest.raises(AgentError, match="line of more than 8192 KiB"):
        await ask(who)


@pytest.mark.parametrize(
    ("path", "found"),
    [("a.b", 1), ("c.1.d", 2), ("c.0", "x"), ("c.7", None), ("c.d", None), ("a.b.c", None), ("z", None), ("", None)],
)
def test_a_path_goes_through_objects_and_lists(path: str, found: Any) -> None:
    assert value_at(path, {"a": {"b": 1}, "c": ["x", {"d": 2}]}) == found


# --- options and health -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": []},
        {"command": [""]},
        {"command": ["a\0b"]},
        {"command": "a"},
        {"command": ["a"], "comand": 1},
        {"command": ["a"], "output": "jsonl"},
        {"command": ["a"], "map": [{"text": "t"}]},
        {"command": ["a"], "model_args": ["--model"]},
        {"command": ["a"], "resume_args": ["{session}"]},
        {"command": ["a"], "max_output": 0},
        {"preset": "unknown"},
        {"preset": "opencode-run", "output": "jsonl"},
        {"preset": "opencode-run", "model_args": ["{model}"]},
        {"command": ["a"], "output": "jsonl", "map": [{"txt": "t"}]},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Options)


async def test_health_says_where_the_program_is(backend: CommandBackend) -> None:
    health = await backend.check_health(agent("sh"))

    assert (health.ok, Path(health.detail).name) == (True, "sh")


async def test_health_says_that_the_program_is_missing(backend: CommandBackend) -> None:
    health = await backend.check_health(agent("no-such-program"))

    assert not health.ok
    assert "no-such-program" in health.detail


def test_a_turn_carries_what_the_program_may_need() -> None:
    given: Turn = turn(script("true", prompt="argument"), "-x")

    assert command.build_arguments(given) == ["sh", "-c", "true", "sh", "--", "-x"]


@pytest.mark.parametrize(
    ("options", "tells_tokens", "tells_cost"),
    [
        ({}, False, False),
        ({"output": "jsonl", "map": [{"text": "delta"}]}, False, False),
        ({"output": "jsonl", "map": [{"text": "delta"}, {"usage": {"output": "out"}}]}, None, False),
        ({"output": "jsonl", "map": [{"usage": {"cost": "usd"}}]}, False, None),
    ],
)
def test_what_no_rule_reads_is_never_told(
    options: dict[str, Any], tells_tokens: bool | None, tells_cost: bool | None
) -> None:
    assert command.describe_agent(agent("true", **options)) == Abilities(
        tells_tokens=tells_tokens, tells_cost=tells_cost
    )
