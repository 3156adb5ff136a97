"""How values are printed for people and programs."""

from __future__ import annotations

import ast
import io
import time
from pathlib import Path

import pytest

import cli
from cli import output

#: a control of Latin-1 that begins an escape sequence, DEL, and a mark that turns the direction of a text
HOSTILE = "\x9b31m\x7f\u202e"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"),
        (0.04, "0.0s"),
        (3.21, "3.2s"),
        (9, "9s"),
        (59.9, "59s"),
        (60, "1m"),
        (192, "3m 12s"),
        (3600, "1h"),
        (3661, "1h 1m"),
        (3605, "1h"),
        (273_600, "3d 4h"),
        (-5, "0s"),
    ],
)
def test_durations_are_said_in_at_most_two_units(seconds: float, said: str) -> None:
    assert output.format_duration(seconds) == said


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be set here")
def test_times_are_local_with_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        assert output.format_time("2026-01-02T03:04:05.678Z") == "2026-01-02 04:04:05 CET"
        assert output.format_time("2026-07-02T03:04:05Z") == "2026-07-02 05:04:05 CEST"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_no_time_is_a_dash() -> None:
    assert (output.format_time(None), output.format_elapsed(None, None)) == ("-", "-")


def test_what_is_under_way_has_taken_some_time() -> None:
    assert output.format_elapsed("2026-01-02T03:04:05Z", "2026-01-02T03:04:06.500Z") == "1.5s"
    assert "d" in output.format_elapsed("2000-01-01T00:00:00Z", None)


def test_milliseconds_are_written_as_the_api_writes_times() -> None:
    assert output.format_rfc3339(1_767_323_045_678) == "2026-01-02T03:04:05.678Z"


def test_a_long_text_is_cut_to_one_line() -> None:
    assert output.shorten_text("a\n b  c") == "a b c"
    assert output.shorten_text("x" * 100, 10) == "x" * 9 + "…"


def test_columns_are_aligned_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "count"), [("a", 1), ("longer", 22)])

    assert capsys.readouterr().out == "NAME    COUNT\na       1\nlonger  22\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize(
    "headers",
    [
        ("task", "status", "agent", "created", "ended", "took", "cost", "input"),
        ("request", "answer", "by", "asked", "until", "action"),
        ("delivery", "status", "tries", "next", "to", "error"),
        ("time", "decided", "outcome", "status", "task"),
        ("session", "title", "messages", "active", "last activity"),
        ("kind", "id", "found", "reason"),
        ("token", "scope", "created", "expires"),
    ],
    ids=" ".join,
)
def test_every_cell_but_a_text_is_in_one_piece_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, headers: tuple[str, ...], columns: int
) -> None:
    shown = Terminal()
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    row = [f"{header}-{'x' * 18}" for header in headers]

    output.print_table(headers, [row])

    whole = [cell for header, cell in zip(headers, row, strict=True) if header not in output.FOLDED_HEADERS]
    assert [cell for cell in whole if cell not in shown.getvalue()] == []


def test_the_lines_of_a_value_are_kept_together(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_fields([("A", 1), ("Long", "x\ny")])

    assert capsys.readouterr().out == "A      1\nLong   x\n       y\n"


def test_text_from_outside_is_shown_safely_in_tables_fields_notes_and_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_table(("name", "count"), [(HOSTILE, "a\nb")])
    output.print_fields([("A", HOSTILE)])
    output.print_note(HOSTILE)
    output.print_error(HOSTILE)
    output.ask_question(HOSTILE)

    safe = "\ufffd31m\ufffd\ufffd"
    assert capsys.readouterr() == (
        f"NAME    COUNT\n{safe}  a b\nA   {safe}\n",
        f"{safe}\n{safe}\n{safe}",
    )


def test_json_is_safe_and_valid(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": HOSTILE})
    output.print_json_line({"a": HOSTILE})

    assert capsys.readouterr().out == '{"a": "\\u009b31m\\u007f\\u202e"}\n' * 2


def test_a_result_in_a_pipe_is_data_and_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_text(HOSTILE)

    assert capsys.readouterr().out == f"{HOSTILE}\n"


def test_all_commands_print_through_one_module_so_that_none_forgets_to_be_safe() -> None:
    root = Path(cli.__file__).parent
    printing = {"echo", "secho", "print", "print_exc", "write"}
    found = [
        f"{file.relative_to(root)}: {ast.unparse(node)}"
        for file in sorted(root.rglob("*.py"))
        if file.name not in {"output.py", "spinner.py"}
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in printing
    ]

    assert found == [
        "command.py: click.echo(f'Moongate {gateway.__version__}')",  # before there is any output from outside
        "commands/export.py: out.write('\\n')",  # a file
        "files/given.py: copy.write(piece)",  # a file
        "files/saving.py: out.write(piece)",  # a file
        "main.py: traceback.print_exc()",  # for whoever asks with MOONGATE_DEBUG
        "remote/message_pipe.py: self._out.write(rest)",  # a protocol
        "service/unit_file.py: draft.write(content)",  # a file
        "update/environment.py: lines.write(f'{record.parent.name}/{note.name},,\\n')",  # a file
    ]


def test_sentences_and_commands_on_one_line_do_not_run_into_each_other() -> None:
    assert output.join_sentences(["It ended.", "Start it: gateway start", "Then: gateway tasks watch 1"]) == (
        "It ended. Start it: gateway start; then: gateway tasks watch 1"
    )
    assert [output.end_sentence(text) for text in ("a", "a.", "a?", "a:", "")] == ["a.", "a.", "a?", "a:", ""]
