"""Reading the log file, and writing it."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from pathlib import Path

import structlog

from gateway import log, log_reader
from gateway.supervisor.logfile import LogFile


def lines(path: Path) -> list[str]:
    return [line.decode() for line in log_reader.read_last_lines(path, 10_000)]


def test_the_last_lines_come_oldest_first(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("".join(f'{{"n": {number}}}\n' for number in range(10)))

    assert log_reader.read_last_lines(file, 2) == [b'{"n": 8}', b'{"n": 9}']


def test_lines_are_found_across_blocks_and_rotated_files(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", size=100_000, count=5)
    for number in range(3000):
        file.write_line(f"{number:06d} {'x' * 60}".encode())
    file.close()

    found = lines(tmp_path / "log")

    assert [int(line[:6]) for line in found] == list(range(3000 - len(found), 3000))
    assert len(found) > 2500


def test_a_log_stays_within_its_bounds_and_keeps_the_last_line(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", size=10_000, count=3)
    for number in range(5000):
        file.write_line(b"%06d" % number + b"x" * 50)
    file.close()

    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 4
    assert max(sizes) <= 10_100
    assert log_reader.read_last_lines(tmp_path / "log", 1)[0].startswith(b"004999")


def test_the_file_is_for_its_owner_only_and_is_not_truncated_by_a_start(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        file = LogFile(tmp_path / "log")
        file.write_line(text)
        file.close()

    assert lines(tmp_path / "log") == ["one", "two"]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_a_follower_misses_nothing_across_rotation(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", size=1_000, count=9)
    file.write_line(b"before")
    follower = log_reader.LogFollower(tmp_path / "log")

    seen: list[bytes] = []
    for number in range(100):
        file.write_line(b"%d" % number + b"." * 40)
        if number % 7 == 0:
            seen += follower.read_new_lines()
    seen += follower.read_new_lines()

    assert [int(line.split(b".")[0]) for line in seen] == list(range(100))
    follower.close()
    file.close()


def test_a_follower_misses_nothing_though_files_were_rotated_many_times_since_it_looked(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", size=1_000, count=9)
    file.write_line(b"before")
    follower = log_reader.LogFollower(tmp_path / "log")

    for number in range(100):
        file.write_line(b"%d" % number + b"." * 40)
    seen = follower.read_new_lines()

    assert (tmp_path / "log.4").exists()
    assert [int(line.split(b".")[0]) for line in seen] == list(range(100))
    assert follower.read_new_lines() == []
    follower.close()
    file.close()


def test_a_follower_whose_file_is_gone_goes_on_with_the_oldest_that_there_is(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", size=1_000, count=2)
    file.write_line(b"before")
    follower = log_reader.LogFollower(tmp_path / "log")

    for number in range(100):
        file.write_line(b"%d" % number + b"." * 40)
    seen = [int(line.split(b".")[0]) for line in follower.read_new_lines()]
    follower.close()

    assert seen == sorted(set(seen))
    assert seen[-40:] == list(range(60, 100))
    file.close()


def test_the_last_lines_are_found_between_two_steps_of_a_rotation(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("last\n")

    assert lines(tmp_path / "log") == ["last"]


def test_what_serves_does_not_bring_what_only_a_terminal_needs() -> None:
    code = (
        "import sys; from gateway import serve; from gateway.api import routing; routing.discover_routes();"
        " print(*sys.modules)"
    )
    late = ("rich", "click", "psutil", "dotenv", "prometheus_client")

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {"structlog", "gateway.api.routes.health"} <= set(done.stdout.split())
    assert [name for name in done.stdout.split() if name.split(".")[0] in late] == []


def test_lines_below_a_level_are_left_out_and_odd_ones_kept(tmp_path: Path) -> None:
    rows = ['{"level": "info"}', '{"level": "error"}', "Traceback", "[1]"]
    (tmp_path / "log").write_text("\n".join(rows) + "\n")

    assert [line.decode() for line in log_reader.read_last_lines(tmp_path / "log", 10, "warning")] == rows[1:]


def written(*, secrets: list[str] | None = None, **event: object) -> dict[str, object]:
    """Log one event and return the line that was written."""
    seen: list[bytes] = []
    writer = log.configure_logging("info", [lambda line, _: seen.append(line)], secrets or [])
    try:
        log.get().info("test.event", **event)
    finally:
        writer.close()
        structlog.reset_defaults()
    return dict(json.loads(seen[0]))


def test_an_event_is_one_json_line_with_time_level_and_name() -> None:
    found = written(run="r1", text="a\nb\x1b[0m")

    assert (found["level"], found["event"], found["run"], found["text"]) == ("info", "test.event", "r1", "a\nb\x1b[0m")


def test_a_secret_is_never_written_however_it_got_there() -> None:
    secret = 'se"cret-value'

    found = written(secrets=[secret], where={"deep": [f"Bearer {secret}"]}, plain=secret)

    assert "cret-value" not in json.dumps(found)
    assert found["plain"] == "***"


def test_what_is_no_unicode_is_written_all_the_same() -> None:
    assert "udc80" in str(written(text="a\udc80")["text"])


def test_a_long_value_is_cut() -> None:
    assert len(str(written(text="x" * 100_000)["text"])) < 3000


def test_readable_lines_hold_no_raw_control_characters() -> None:
    line = json.dumps({"time": "2026-01-02T03:04:05.678Z", "level": "info", "event": "a", "text": "x\x1b[31m\ny"})

    shown = log_reader.format_line(line.encode())

    assert shown.isprintable()
    assert shown.startswith("03:04:05 info    a ")


def test_a_sink_that_hangs_holds_nobody_and_what_is_lost_is_counted() -> None:
    hold, seen = threading.Event(), list[bytes]()

    def sink(line: bytes, _: int) -> None:
        hold.wait(30)
        seen.append(line)

    writer = log.configure_logging("info", [sink])
    try:
        for number in range(log.MAX_QUEUED_LINES + 500):
            log.get().info("flood", number=number)
        hold.set()
    finally:
        writer.close(30)
        structlog.reset_defaults()

    counts = [json.loads(line)["lines"] for line in seen if b"log.dropped" in line]
    assert sum(counts) + sum(b"flood" in line for line in seen) == log.MAX_QUEUED_LINES + 500
