"""A serving process as its supervisor sees it: all log lines, within limits, and only complete messages."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import config, log_reader
from gateway.control_channel import MAX_CONTROL_MESSAGE_BYTES, ControlChannel, MessageDecoder, MessageType
from gateway.supervisor.generation import GENERATION_MOVES, Generation, GenerationState
from gateway.supervisor.logfile import LogFile

MEGABYTES = 100


class Heard:
    """A generation without a process: the test holds the other ends of its pipes."""

    def __init__(self, state: GenerationState = GenerationState.STARTING) -> None:
        self.logged: list[tuple[str, object]] = []
        reader, self.writer = os.pipe()
        ours, self.line = socket.socketpair()
        os.set_blocking(reader, False)
        self.generation = Generation(1, 0, ControlChannel(ours), reader, self.log_event, state=state)

    def log_event(self, event: str, **about: object) -> None:
        self.logged.append((event, about))

    def close(self) -> None:
        self.generation.close()
        self.line.close()


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    made.close()


def test_a_hundred_megabytes_of_log_are_bounded_and_a_follower_misses_nothing(heard: Heard, tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    file = LogFile(path)
    follower = log_reader.LogFollower(path)
    count = MEGABYTES * 1000

    def spam() -> None:
        filling = b"x" * 990
        for start in range(0, count, 100):
            data = b"".join(b"%08d %s\n" % (number, filling) for number in range(start, start + 100))
            while data:
                data = data[os.write(heard.writer, data) :]
        os.write(heard.writer, b"last words")
        os.close(heard.writer)

    thread = threading.Thread(target=spam)
    thread.start()
    seen = 0
    while thread.is_alive() or len(heard.generation.open_sources) == 2:
        heard.generation.read_log(file.write_line)
        for line in follower.read_new_lines():
            assert line.startswith(b"%08d " % seen)
            seen += 1
    heard.generation.flush_log(file.write_line)
    thread.join()

    assert (seen, follower.read_new_lines()) == (count, [b"last words"])
    files = sorted(tmp_path.iterdir())
    assert len(files) <= 6
    assert sum(one.stat().st_size for one in files) < 70 * 1024 * 1024
    assert log_reader.read_last_lines(path, 1) == [b"last words"]
    follower.close()
    file.close()


def test_one_turn_of_reading_ends_even_if_more_comes(heard: Heard) -> None:
    over = threading.Event()

    def pour() -> None:
        while not over.is_set():
            os.write(heard.writer, b"line\n" * 1000)
        os.close(heard.writer)

    thread = threading.Thread(target=pour)
    thread.start()
    heard.generation.read_log(lambda line: None)  # it returns
    over.set()
    while len(heard.generation.open_sources) == 2:
        heard.generation.read_log(lambda line: None)
    thread.join()


def test_a_line_without_end_is_written_in_pieces(heard: Heard) -> None:
    written: list[bytes] = []
    thread = threading.Thread(target=lambda: (os.write(heard.writer, b"x" * 2_000_000), os.close(heard.writer)))
    thread.start()
    while len(heard.generation.open_sources) == 2:
        heard.generation.read_log(written.append)
    heard.generation.flush_log(written.append)
    thread.join()

    assert b"".join(written) == b"x" * 2_000_000
    assert max(map(len, written)) < 400_000


def test_a_closed_source_is_left_out(heard: Heard) -> None:
    os.close(heard.writer)
    heard.line.close()

    heard.generation.read_log(lambda line: None)
    heard.generation.receive_messages()

    assert heard.generation.open_sources == []


def test_messages_wait_for_room_and_arrive_complete_and_in_order(heard: Heard) -> None:
    said = [f"{number:05d}" + "x" * 2_000 for number in range(500)]

    for text in said:
        heard.generation.line.send_message(MessageType.NOTE, text=text)
    decoder, found = MessageDecoder(), []
    while len(found) < len(said):
        found += decoder.decode_messages(heard.line.recv(MAX_CONTROL_MESSAGE_BYTES))
        heard.generation.receive_messages()

    assert [message.about["text"] for message in found] == said


@pytest.mark.parametrize(
    "garbage", [b"\n", b"{\n", b"7\n", b"[]\n", b'{"word": "x"}\n', b"[" * 60_000 + b"\n", b"\xff\n"]
)
def test_garbage_on_the_channel_is_ignored(heard: Heard, garbage: bytes) -> None:
    heard.line.sendall(garbage + b'\n{"word": "beat"}\n')

    assert [message.word for message in heard.generation.receive_messages()] == [MessageType.BEAT]


@pytest.mark.parametrize("start", GenerationState)
@pytest.mark.parametrize("to", GenerationState)
def test_only_the_moves_of_the_table_are_made(start: GenerationState, to: GenerationState) -> None:
    allowed = {
        (GenerationState.STARTING, GenerationState.STANDBY),
        (GenerationState.STARTING, GenerationState.DRAINING),
        (GenerationState.STANDBY, GenerationState.LEADING),
        (GenerationState.STANDBY, GenerationState.DRAINING),
        (GenerationState.LEADING, GenerationState.YIELDING),
        (GenerationState.LEADING, GenerationState.DRAINING),
        (GenerationState.YIELDING, GenerationState.YIELDING),
        (GenerationState.YIELDING, GenerationState.DRAINING),
        (GenerationState.DRAINING, GenerationState.DRAINING),
    }
    heard = Heard(start)

    if (start, to) in allowed:
        heard.generation.move_to(to)
        assert heard.generation.state is to
    else:
        with pytest.raises(ValueError, match=f"cannot move from {start.value} to {to.value}"):
            heard.generation.move_to(to)
        assert heard.generation.state is start
    heard.close()


def test_every_state_can_be_drained() -> None:
    assert all(GenerationState.DRAINING in targets for targets in GENERATION_MOVES.values())


def test_the_lead_is_logged(heard: Heard) -> None:
    heard.generation.stand_by()
    heard.generation.start_leading()

    assert heard.logged == [("generation.leads", {"generation": 1})]


def test_what_a_re_execution_keeps_begins_in_its_state(heard: Heard) -> None:
    heard.generation.stand_by()
    heard.generation.start_leading()
    heard.generation.start_draining(60.0)
    os.write(heard.writer, b"half a li")
    heard.generation.read_log(lambda line: None)
    kept = heard.generation.keep_for_reexec()
    kept |= {"line": os.dup(kept["line"]), "log": os.dup(kept["log"])}

    found = Generation.from_kept(kept, heard.log_event)

    assert (found.number, found.state) == (1, GenerationState.DRAINING)
    assert (found.started, found.deadline) == (heard.generation.started, heard.generation.deadline)
    os.write(heard.writer, b"ne\n")
    written: list[bytes] = []
    found.read_log(written.append)
    assert written == [b"half a line"]
    with pytest.raises(ValueError, match="cannot move from draining to leading"):
        found.start_leading()
    found.close()


def test_a_process_that_cannot_be_started_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError(11, "no process is left")

    def count_descriptors() -> int:
        gc.collect()  # else it may close meanwhile what earlier tests have left
        return len(os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))

    monkeypatch.setattr(subprocess, "Popen", fail)
    sources = config.read_sources({"HOME": "/nowhere"})
    with socket.socket() as listener:
        before = count_descriptors()
        with pytest.raises(OSError, match="no process is left"):
            Generation.start_process(1, listener, {}, sources, lambda event: None)
        assert count_descriptors() == before
