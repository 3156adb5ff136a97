"""How values are printed for people and programs."""

from __future__ import annotations

import time

import pytest

from cli import output


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


def test_the_lines_of_a_value_are_kept_together(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_fields([("A", 1), ("Long", "x\ny")])

    assert capsys.readouterr().out == "A      1\nLong   x\n       y\n"
